//! Static keys, origins, and where tokens are shown.

use super::*;

#[test]
fn static_keys() {
    let key = generate_key().unwrap();
    let other = generate_key().unwrap();
    assert!(key != other && key.expose().len() >= KEY_BYTES_MIN);
    let entry = |name: &str, key: &Secret, grants: &str| {
        format!(
            "[[auth.keys]]\nname = \"{name}\"\nsha256 = \"{}\"\n{grants}",
            KeyHash::of(key.expose())
        )
    };
    let access = rules(&format!(
        "{}{}",
        entry(
            "desk",
            &key,
            "subscribe = [\"ticker.>\"]\ndeny_subscribe = [\"ticker.X\"]\n"
        ),
        entry("feed", &other, "publish = [\">\"]\ndeny_publish = [\"chat.>\"]\n")
    ));
    check(
        &access,
        key.expose(),
        &expect![[r#"subscribe ["ticker.>"] but ["ticker.X"], publish [] but [], expires None"#]],
    );
    check(
        &access,
        other.expose(),
        &expect![[r#"subscribe [] but [], publish [">"] but ["chat.>"], expires None"#]],
    );
    check(
        &access,
        &format!("{}x", key.expose()),
        &expect!["unauthenticated UnknownKey: no such key"],
    );
    check(
        &access,
        &KeyHash::of(key.expose()).to_string(),
        &expect!["unauthenticated UnknownKey: no such key"],
    );
    check(
        &access,
        &hs256(&claims()),
        &expect!["unauthenticated UnknownKey: no such key"],
    );
    let (hash, other_hash) = (KeyHash::of(key.expose()), KeyHash::of(other.expose()));
    let admission = access.verify(&key, NOW).unwrap();
    assert_eq!(admission.holder, Some(Holder::Key(hash)));
    assert_eq!(access.rights_of_key(hash), Some(&admission.rights));
    assert_eq!(access.changed_keys(&access).count(), 0);
    // This is another key of the same name, with other rights.
    let after = rules(&entry("desk", &other, ""));
    assert_eq!(after.rights_of_key(hash), None);
    let changed: Vec<_> = access.changed_keys(&after).collect();
    assert_eq!(changed, [(hash, None), (other_hash, Some(&Rights::none()))]);
    // FIPS 180-4, the example with one block.
    assert_eq!(
        KeyHash::of("abc").to_string(),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

#[test]
fn without_tokens() {
    let access = rules("");
    check(
        &access,
        "tw_0123456789abcdef",
        &expect![
            "unauthenticated UnknownKey: this broker has no tokens configured; everyone has the anonymous rights"
        ],
    );
    let admission = access.admit(None, NOW).unwrap();
    assert_eq!(admission.rights, Rights::open([]));
    assert_eq!(
        access.summary(),
        "anyone may subscribe to everything and publish to nothing"
    );
    let key = KeyHash::of("k");
    let required = rules(&format!(
        "anonymous_publish = [\"a\", \"b.>\"]\n[auth]\nrequired = true\n[[auth.keys]]\nname = \"k\"\nsha256 = \"{key}\"\n"
    ));
    assert_eq!(required.admit(None, NOW), Err(Denied::NoToken));
    assert_eq!(required.summary(), "a token is required");
    let some = rules("anonymous_publish = [\"a\", \"b.>\"]\n[auth]\nanonymous_subscribe = [\"c\"]\n");
    assert_eq!(some.summary(), "anyone may subscribe to c and publish to a, b.>");
}

fn head(lines: &[(&str, &str)]) -> HeaderMap {
    let mut request = Request::builder();
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().headers().clone()
}

#[test]
fn origins() {
    let access = rules(
        "[auth]\nallowed_origins = [\"https://Example.com\", \"http://[::1]:8080\", \"tauri://localhost\"]\n",
    );
    for (origin, allowed) in [
        ("https://example.com", true),
        ("HTTPS://EXAMPLE.COM", true),
        ("https://example.com:443", true),
        ("http://[::1]:8080", true),
        ("tauri://localhost", true),
        ("http://example.com", false),
        ("https://example.com:8443", false),
        ("https://example.com.evil.net", false),
        ("https://evil.net/https://example.com", false),
        ("https://example.com@evil.net", false),
        ("https://sub.example.com", false),
        ("https://example.com/", false),
        ("https://example.com https://evil.net", false),
        ("wss://example.com", false),
        ("http://[::1]", false),
        ("tauri://localhost:1", false),
        ("null", false),
        ("", false),
        ("example.com", false),
    ] {
        assert_eq!(
            access.check_origin(&head(&[("origin", origin)])).is_ok(),
            allowed,
            "{origin}"
        );
    }
    assert!(access.check_origin(&head(&[])).is_ok(), "no browser");
    let twice = head(&[
        ("origin", "https://example.com"),
        ("origin", "https://example.com"),
    ]);
    assert_eq!(access.check_origin(&twice), Err(Denied::ForeignOrigin));
    assert!(rules("").check_origin(&head(&[("origin", "null")])).is_ok());
    assert_eq!(
        WebOrigin::parse("HTTPS://A:443").unwrap().to_string(),
        "https://a"
    );
    assert_eq!(
        WebOrigin::parse("http://[::1]:8080").unwrap().to_string(),
        "http://[::1]:8080"
    );
}

#[test]
fn origins_below_a_host() {
    let access =
        rules("[auth]\nallowed_origins = [\"https://*.Example.com\", \"http://*.localhost:8080\"]\n");
    for (origin, allowed) in [
        ("https://app.example.com", true),
        ("https://a.b.example.com", true),
        ("HTTPS://APP.EXAMPLE.COM:443", true),
        ("http://a.localhost:8080", true),
        ("https://example.com", false),
        ("https://.example.com", false),
        ("https://a..example.com", false),
        ("https://evilexample.com", false),
        ("https://app.example.com.evil.net", false),
        ("https://*.example.com", false),
        ("http://app.example.com", false),
        ("https://app.example.com:8443", false),
        ("http://a.localhost", false),
    ] {
        assert_eq!(
            access.check_origin(&head(&[("origin", origin)])).is_ok(),
            allowed,
            "{origin}"
        );
    }
    for text in [
        "https://*",
        "https://*.",
        "https://*.*.example.com",
        "https://a.*.example.com",
        "https://*example.com",
        "https://*.192.0.2.1",
        "https://*.[::1]",
        "https://*..example.com",
        "*.example.com",
    ] {
        assert_eq!(OriginRule::parse(text), None, "{text}");
    }
}

#[test]
fn where_a_token_is_shown() {
    let entry = format!("tickwire.token.{}", base64url(b"a.b.c"));
    let entry = entry.as_str();
    let shown = |lines: &[(&str, &str)]| match shown_token(&head(lines)) {
        Ok(token) => token.map_or("none".to_owned(), |token| token.expose().to_owned()),
        Err(denied) => denied.to_string(),
    };
    let offer = format!("tickwire.v1.json, {entry}");
    for (lines, expected) in [
        (&[][..], "none"),
        (&[("authorization", "Bearer a.b.c")], "a.b.c"),
        (&[("authorization", "bearer  a.b.c ")], "a.b.c"),
        (&[("authorization", "Basic dTpw")], "none"),
        (
            &[("authorization", "Basic dTpw"), ("authorization", "BEARER t")],
            "t",
        ),
        (
            &[("authorization", "Bearer")],
            "the token cannot be read: it is empty",
        ),
        (
            &[("authorization", "Bearer a"), ("authorization", "Bearer a")],
            "more than one token was shown; show one",
        ),
        (&[("sec-websocket-protocol", entry)], "a.b.c"),
        (&[("sec-websocket-protocol", &offer)], "a.b.c"),
        (
            &[("sec-websocket-protocol", &offer), ("authorization", "Bearer a")],
            "more than one token was shown; show one",
        ),
        (&[("sec-websocket-protocol", "tickwire.v1.json")], "none"),
        (
            &[("sec-websocket-protocol", "tickwire.token.")],
            "the token cannot be read: it is empty",
        ),
        (
            &[("sec-websocket-protocol", "tickwire.token.a+b")],
            "the token cannot be read: behind tickwire.token. must be its base64url, without padding",
        ),
        (
            &[("sec-websocket-protocol", "tickwire.token._w")],
            "the token cannot be read: it is not text",
        ),
    ] {
        assert_eq!(shown(lines), expected, "{lines:?}");
    }
}

#[test]
fn nothing_shows_a_secret() {
    let key = generate_key().unwrap();
    let access = rules(&format!(
        "{ALL_ALGORITHMS}[[auth.keys]]\nname = \"a\"\nsha256 = \"{}\"\n",
        KeyHash::of(key.expose())
    ));
    let shown = format!("{access:?} {key:?}");
    for secret in [
        key.expose(),
        std::str::from_utf8(SECRET).unwrap(),
        &KeyHash::of(key.expose()).to_string(),
    ] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(!shown.contains(&format!("{SECRET:?}")), "not as bytes either");
}
