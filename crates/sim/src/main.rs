//! probe
fn main() {
    tickwire_sim::catch_panics();
    let args: Vec<String> = std::env::args().collect();
    let from: u64 = args[1].parse().unwrap();
    let n: u64 = args[2].parse().unwrap();
    let mut steps = 0;
    for seed in from..from + n {
        let plan = tickwire_sim::Plan::from_seed(seed);
        let o = tickwire_sim::run(&plan, false);
        steps += o.steps;
        if let Some(b) = o.broken {
            println!("seed {seed}: {b}");
            if args.len() > 3 {
                let p = tickwire_sim::shrink(&plan, b.rule);
                println!("{:?}", p.setup);
                let o = tickwire_sim::run(&p, true);
                for l in o.lines { println!("{l}"); }
                println!("{}", o.broken.unwrap());
            }
        }
    }
    println!("steps {steps}");
}
