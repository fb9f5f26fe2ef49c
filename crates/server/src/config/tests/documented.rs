//! The documentation of the settings is true.

use expect_test::expect_file;

use super::*;

#[test]
fn the_example_is_the_defaults_with_rules() {
    let config = Case::new().file(&Config::example_toml()).loaded();
    let rules = [
        config.kinds.len(),
        config.staleness.len(),
        config.expiry.len(),
        config.derive.len(),
        config.views.len(),
    ];
    assert_eq!(rules, [3, 1, 1, 1, 1]);
    let without_rules = Config {
        kinds: Vec::new(),
        staleness: Vec::new(),
        expiry: Vec::new(),
        derive: Vec::new(),
        views: Vec::new(),
        ..config
    };
    assert_eq!(without_rules, Config::default());
}

#[test]
fn what_the_example_comments_out_is_valid() {
    let uncommented: String = Config::example_toml()
        .lines()
        // A journal and views have no place beside a cluster.
        .filter(|line| !line.contains("nats://"))
        .map(|line| match line.strip_prefix("# ") {
            Some(setting) if setting.contains(" = ") => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let config = Case::new().file(&uncommented).loaded();
    assert_eq!(config.shards, Some(4));
    assert_eq!(config.limits.connections, Some(50_000));
    assert_eq!(config.socket.send_buffer_bytes, Some(262_144));
    let tls = config.tls.expect("both of its files are named");
    assert!(matches!(tls.clients, TlsClients::MustShow { .. }));
}

/// `page` with the part between the two comments `<!-- name -->` and `<!-- end name -->` replaced by `text`.
fn with_part(page: &str, name: &str, text: &str) -> String {
    let (start, end) = (format!("<!-- {name} -->\n"), format!("<!-- end {name} -->"));
    let from = page.find(&start).expect(name) + start.len();
    let to = from + page[from..].find(&end).expect(name);
    format!("{}{text}{}", &page[..from], &page[to..])
}

/// `UPDATE_EXPECT=1` rewrites the generated parts of the page.
#[test]
fn the_documentation_has_every_key() {
    let page = include_str!("../../../../../docs/CONFIGURATION.md");
    let page = with_part(page, "keys", &Config::key_table());
    let page = with_part(
        &page,
        "example",
        &format!("```toml\n{}```\n", Config::example_toml()),
    );
    expect_file!["../../../../../docs/CONFIGURATION.md"].assert_eq(&page);
}
