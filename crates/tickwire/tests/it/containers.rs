//! The image of the broker, and the files of Compose: what they say fits the program, and the broker runs as they start it.
//!
//! Nothing is fetched and no image is built here. The steps of the build run with another `cargo`, which brings the program of this test.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tickwire_server::Config;
use tickwire_server::config::Overrides;

use crate::prometheus::of_the_project;
use crate::support::{Container, Script, Socket, Tool, get};

/// The number of the user `nonroot` in the image.
const NONROOT: u64 = 65_532;

fn read(path: &str) -> String {
    fs::read_to_string(of_the_project(path)).expect("the file is there")
}

/// The document of a YAML file of the project.
fn yaml(python: &Path, path: &str) -> Value {
    let convert = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))";
    let mut script = Script::start(python, &["-c", convert]);
    script.write(read(path).as_bytes());
    serde_json::from_str(&script.finish()).expect("JSON")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn succeeded(output: &Output) {
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// The instructions of the Containerfile with this name, each on one line.
fn instructions(name: &str) -> Vec<String> {
    let text = read("deploy/Containerfile").replace("\\\n", " ");
    let lines = text.lines().filter_map(|line| line.strip_prefix(name));
    lines.map(|line| line.trim().to_owned()).collect()
}

/// The only instruction with this name, whose value is a list.
fn list(name: &str) -> Vec<String> {
    let found = instructions(name);
    assert_eq!(found.len(), 1, "{found:?}");
    serde_json::from_str(&found[0]).expect("a list")
}

#[test]
fn hadolint_finds_nothing_wrong_with_the_containerfile() {
    let test = "hadolint_finds_nothing_wrong_with_the_containerfile";
    let Some(python) = Tool::Python.find(test) else {
        return;
    };
    let output = Command::new(python.with_file_name("hadolint"))
        .args(["--no-color", &of_the_project("deploy/Containerfile")])
        .output()
        .expect("hadolint starts");
    succeeded(&output);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

/// Runs the step of the build in a folder that stands for `/src`, and looks at what comes into the image.
#[test]
fn the_image_has_what_it_starts() {
    let steps = instructions("RUN ");
    assert_eq!(steps.len(), 1, "{steps:?}");
    let words = steps[0].split_whitespace();
    let step: Vec<&str> = words.filter(|word| !word.starts_with("--mount=")).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name);
    let [source, out, programs] = ["src", "out", "programs"].map(place);
    for folder in [&source, &programs] {
        fs::create_dir(folder).expect("a folder");
    }
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        fs::copy(of_the_project(licence), source.join(licence)).expect("a copy");
    }
    symlink(env!("CARGO_BIN_EXE_tickwire"), programs.join("built")).expect("a link");
    let cargo = programs.join("cargo");
    let script = "#!/bin/sh\necho \"$*\" > asked\nmkdir -p target/release\ncp \"$(dirname \"$0\")/built\" target/release/tickwire\n";
    fs::write(&cargo, script).expect("a file can be written");
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("its own file");
    let path = std::env::var("PATH").expect("programs are found");
    let path = format!("{}:{path}", programs.display());
    let step = step.join(" ").replace("/out/", &format!("{}/", out.display()));
    let ran = Command::new("sh")
        .args(["-c", &step])
        .current_dir(&source)
        .env("PATH", path)
        .output();
    succeeded(&ran.expect("there is a shell"));
    let asked = fs::read_to_string(source.join("asked")).expect("cargo was asked");
    assert_eq!(asked, "build --locked --release --package tickwire\n");

    let entry = list("ENTRYPOINT");
    let program = out.join(entry[0].trim_start_matches('/'));
    let ran = Command::new(program)
        .arg("--version")
        .output()
        .expect("it is there");
    let version = concat!("tickwire ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(String::from_utf8_lossy(&ran.stdout), version);
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        assert!(out.join("usr/share/doc/tickwire").join(licence).is_file());
    }
}

#[test]
fn the_image_starts_a_broker_without_rights() {
    let test = "the_image_starts_a_broker_without_rights";
    let Some(python) = Tool::Python.find(test).filter(|_| Container::is_possible(test)) else {
        return;
    };
    let base = instructions("FROM ").pop().expect("a base");
    assert!(base.ends_with(":nonroot"), "{base}");
    let command = list("CMD");
    for port in instructions("EXPOSE ")[0].split(' ') {
        assert!(
            command.contains(&format!("0.0.0.0:{port}")),
            "{port}: {command:?}"
        );
    }
    // Its own ports may be in use on this machine.
    let args: Vec<String> = command
        .into_iter()
        .map(|word| match word.starts_with("0.0.0.0:") {
            true => "127.0.0.1:0".to_owned(),
            false => word,
        })
        .collect();
    let container = Container {
        args: json!(args),
        variables: json!({ "TICKWIRE_LOG_FORMAT": "json" }),
        folders: json!({}),
        user: NONROOT,
    };
    let broker = container.start(&python);
    drop(Socket::open(&broker));
    broker.wait_for_metric("tickwire_connections{transport=\"websocket\"}", |open| {
        open == 0.0
    });
    broker.stop();
}

/// The volumes of a service: the path in the project, or the name, and the path in the container.
fn volumes(service: &Value) -> Vec<(String, String)> {
    let volumes = service["volumes"].as_array().into_iter().flatten().map(text);
    let parts = volumes.map(|volume| volume.split(':').collect::<Vec<_>>());
    parts
        .map(|parts| match parts.as_slice() {
            [source, target, "ro"] => {
                let source = match source.strip_prefix("../") {
                    Some(rest) => format!("deploy/{rest}"),
                    None => format!("deploy/compose/{}", source.trim_start_matches("./")),
                };
                (source, (*target).to_owned())
            }
            [name, target] if !name.starts_with('.') => ((*name).to_owned(), (*target).to_owned()),
            other => panic!("{other:?} can be written to"),
        })
        .collect()
}

#[test]
fn the_files_of_compose_fit_each_other_and_the_settings() {
    let test = "the_files_of_compose_fit_each_other_and_the_settings";
    let tools = [Tool::Python, Tool::Compose, Tool::Promtool];
    let Some([python, compose, promtool]) = Tool::find_all(tools, test) else {
        return;
    };
    let file = of_the_project("deploy/compose/compose.yaml");
    let read_by_compose = Command::new(compose).args(["-f", &file, "config"]).output();
    succeeded(&read_by_compose.expect("Compose starts"));
    let compose = yaml(&python, "deploy/compose/compose.yaml");
    let services = compose["services"].as_object().expect("services");
    let settings = of_the_project("deploy/compose/tickwire.toml");
    let config = Config::load(Some(Path::new(&settings)), [], &Overrides::default()).expect("settings");
    let (clients, ops) = (config.listen.port(), config.ops.port());

    for (name, service) in services {
        let image = text(&service["image"]);
        let is_pinned = image.rsplit_once(':').is_some_and(|(_, tag)| tag != "latest");
        assert!(name == "broker" || is_pinned, "{image}");
        for (source, _) in volumes(service) {
            // The certificate is made by the command in the file; the rest is there.
            let is_made = source == "deploy/compose/tls" || source == "prometheus";
            assert!(
                is_made || Path::new(&of_the_project(&source)).exists(),
                "{source}"
            );
        }
    }
    let broker = &services["broker"];
    assert_eq!(broker["ports"], json!([format!("127.0.0.1:{ops}:{ops}")]));
    assert_eq!(
        (&broker["read_only"], &broker["cap_drop"]),
        (&json!(true), &json!(["ALL"]))
    );
    let grace = text(&broker["stop_grace_period"]).strip_suffix('s');
    let grace: u64 = grace.and_then(|grace| grace.parse().ok()).expect("seconds");
    assert!(grace * 1_000 > config.drain.delay_ms + config.drain.deadline_ms);
    let subnet = text(&compose["networks"]["default"]["ipam"]["config"][0]["subnet"]);
    let trusted: Vec<String> = config.proxy.trusted.iter().map(ToString::to_string).collect();
    assert_eq!(trusted, [subnet]);

    // nginx has the configuration that another test runs, but for the broker's name.
    let from_upstream = |path: &str| {
        let text = read(path);
        text[text.find("\nupstream").expect("an upstream")..].to_owned()
    };
    let given = from_upstream("deploy/nginx/tickwire.conf");
    let named = given.replace("server 127.0.0.1:7400;", &format!("server broker:{clients};"));
    assert_ne!(given, named);
    assert_eq!(from_upstream("deploy/compose/nginx.conf"), named);

    // Prometheus reads its files as they lie in its container.
    let folder = tempfile::tempdir().expect("a folder");
    let mut main = None;
    for (source, target) in volumes(&services["prometheus"]) {
        let place = folder.path().join(target.trim_start_matches('/'));
        fs::create_dir_all(place.parent().expect("a folder")).expect("a folder");
        if target.ends_with(".yml") {
            fs::copy(of_the_project(&source), &place).expect("a copy");
        }
        main = main.or_else(|| target.ends_with("/prometheus.yml").then_some(place));
    }
    let check = Command::new(promtool)
        .args(["check", "config"])
        .arg(main.expect("its file"))
        .output();
    succeeded(&check.expect("promtool starts"));
    let scraping = yaml(&python, "deploy/compose/prometheus.yml");
    let job = &scraping["scrape_configs"][0];
    assert_eq!(
        job["static_configs"][0]["targets"],
        json!([format!("broker:{ops}")])
    );
    assert_eq!(job["job_name"], "tickwire", "the alerts expect this name");
    grafana_finds_prometheus_and_the_dashboards(&python, services, &scraping);
}

/// Checks what Grafana is provisioned with.
fn grafana_finds_prometheus_and_the_dashboards(
    python: &Path,
    services: &serde_json::Map<String, Value>,
    scraping: &Value,
) {
    let grafana = &services["grafana"];
    let mounts = volumes(grafana);
    let place_of = |source: &str| {
        let mount = mounts.iter().find(|(of, _)| of == source);
        mount.expect("it is mounted").1.clone()
    };
    assert_eq!(
        place_of("deploy/grafana/provisioning"),
        "/etc/grafana/provisioning"
    );
    let dashboards = place_of("deploy/grafana/dashboards");
    let source = yaml(python, "deploy/grafana/provisioning/datasources/prometheus.yaml");
    let source = &source["datasources"][0];
    let published = text(&services["prometheus"]["ports"][0]);
    let (_, port) = published.rsplit_once(':').expect("a port");
    assert_eq!(text(&source["url"]), format!("http://prometheus:{port}"));
    assert_eq!(
        source["jsonData"]["timeInterval"],
        scraping["global"]["scrape_interval"]
    );
    let provider = yaml(python, "deploy/grafana/provisioning/dashboards/tickwire.yaml");
    assert_eq!(text(&provider["providers"][0]["options"]["path"]), dashboards);
    let home = text(&grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]);
    let home = home.strip_prefix(&dashboards).expect("one of the dashboards");
    assert!(Path::new(&of_the_project(&format!("deploy/grafana/dashboards{home}"))).is_file());
}

#[test]
fn the_broker_of_compose_runs_without_rights() {
    let test = "the_broker_of_compose_runs_without_rights";
    let Some(python) = Tool::Python.find(test).filter(|_| Container::is_possible(test)) else {
        return;
    };
    let compose = yaml(&python, "deploy/compose/compose.yaml");
    let service = &compose["services"]["broker"];
    let mut args = service["command"].as_array().expect("a command").clone();
    args.extend(["--listen=127.0.0.1:0", "--ops=127.0.0.1:0"].map(Value::from));
    let mut folders = json!({});
    for (source, target) in volumes(service) {
        folders[target] = json!(of_the_project(&source));
    }
    let container = Container {
        args: json!(args),
        variables: json!({}),
        folders,
        user: NONROOT,
    };
    let broker = container.start(&python);
    assert_eq!(get(broker.listen, "/v1/topics").status, 200);
    broker.stop();
}
