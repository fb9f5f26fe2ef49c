//! Tokens, keys and origins as clients show them and operators set them, and what comes of each.

use expect_test::{Expect, expect};
use hyper::Request;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::config::Overrides;

/// 2026-11-21, roughly; any time would do.
const NOW: Micros = Micros(1_795_000_000_000_000);
const NOW_S: u64 = NOW.0 / 1_000_000;
/// A secret of 32 bytes.
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys");

/// A configuration file's `[auth]`, in which `KEYS` stands for the folder of the tests' keys and `DIR` for a fresh one.
fn load(folder: &TempDir, auth: &str) -> Result<Access, String> {
    std::fs::write(folder.path().join("secret"), SECRET).unwrap();
    let text = auth
        .replace("KEYS", KEYS)
        .replace("DIR", &folder.path().display().to_string());
    let path = folder.path().join("x.toml");
    std::fs::write(&path, text).unwrap();
    let config = Config::load(Some(&path), [], &Overrides::default()).map_err(|error| error.to_string())?;
    Access::load(&config).map_err(|error| error.to_string())
}

fn rules(auth: &str) -> Access {
    load(&tempfile::tempdir().unwrap(), auth).unwrap()
}

#[track_caller]
fn refused(auth: &str, expected: &Expect) {
    let folder = tempfile::tempdir().unwrap();
    let error = load(&folder, auth).unwrap_err();
    let error = error
        .replace(KEYS, "KEYS")
        .replace(&format!("{}/", folder.path().display()), "");
    expected.assert_eq(&error);
}

const ALL_ALGORITHMS: &str = "[auth.jwt]\nalgorithms = [\"HS256\", \"RS256\", \"ES256\", \"EdDSA\"]\nsecret_file = \"DIR/secret\"\n\
     public_key_files = [\"KEYS/rsa.public.pem\", \"KEYS/p256.public.pem\", \"KEYS/ed25519.public.pem\"]\n\
     audience = \"tickwire\"\nissuer = \"https://issuer.example\"\n";

fn private(name: &str) -> Vec<u8> {
    std::fs::read(format!("{KEYS}/{name}.private.pem")).unwrap()
}

/// Claims that are in order.
fn claims() -> Value {
    json!({
        "sub": "desk-7", "exp": NOW_S + 60, "aud": "tickwire", "iss": "https://issuer.example",
        "tickwire": {"subscribe": ["ticker.>"], "deny_subscribe": ["ticker.X"], "publish": ["chat.*"]},
    })
}

/// The claims in order, with those of `changes` instead; null takes one away.
fn claims_with(changes: Value) -> Value {
    let mut claims = claims();
    let map = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            map.remove(name);
        } else {
            map.insert(name.clone(), value.clone());
        }
    }
    claims
}

fn hs256(claims: &Value) -> String {
    encode(
        &Header::new(Algorithm::HS256),
        claims,
        &EncodingKey::from_secret(SECRET),
    )
    .unwrap()
}

/// A token with this header, signed by the secret whatever the header says.
fn with_header(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| base64url(value.to_string().as_bytes());
    let message = format!("{}.{}", part(header), part(claims));
    let key = EncodingKey::from_secret(SECRET);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// What comes of a token, in a line.
fn outcome(access: &Access, token: &str) -> String {
    match access.verify(&Secret::from(token), NOW) {
        Ok(admission) => {
            let texts = |patterns: &[tickwire_wire::Pattern]| format!("{patterns:?}");
            let rights = &admission.rights;
            format!(
                "subscribe {} but {}, publish {} but {}, expires {:?}",
                texts(rights.subscribe.allow()),
                texts(rights.subscribe.deny()),
                texts(rights.publish.allow()),
                texts(rights.publish.deny()),
                admission.expires.map(|at| at.0.saturating_sub(NOW.0) / 1_000_000)
            )
        }
        Err(denied) => format!("{} {:?}: {denied}", denied.code(), denied.failure()),
    }
}

#[track_caller]
fn check(access: &Access, token: &str, expected: &Expect) {
    let outcome = outcome(access, token);
    assert!(
        token.len() < 8 || !outcome.contains(token),
        "the token is repeated"
    );
    expected.assert_eq(&outcome);
}

#[test]
fn good_tokens_of_every_algorithm() {
    let access = rules(ALL_ALGORITHMS);
    let granted = outcome(&access, &hs256(&claims()));
    expect![[r#"subscribe ["ticker.>"] but ["ticker.X"], publish ["chat.*"] but [], expires Some(60)"#]]
        .assert_eq(&granted);
    for (algorithm, key) in [
        (
            Algorithm::RS256,
            EncodingKey::from_rsa_pem(&private("rsa")).unwrap(),
        ),
        (
            Algorithm::ES256,
            EncodingKey::from_ec_pem(&private("p256")).unwrap(),
        ),
        (
            Algorithm::EdDSA,
            EncodingKey::from_ed_pem(&private("ed25519")).unwrap(),
        ),
    ] {
        let token = encode(&Header::new(algorithm), &claims(), &key).unwrap();
        assert_eq!(outcome(&access, &token), granted, "{algorithm:?}");
        let wrong = token.rsplit_once('.').unwrap().0.to_owned() + ".AAAA";
        assert!(outcome(&access, &wrong).contains("Signature"), "{algorithm:?}");
    }
}

/// CVE-2015-9235 and what followed: a token must not choose how it is verified.
#[test]
fn algorithms_that_a_token_chose() {
    let access = rules(ALL_ALGORITHMS);
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "None"}),
        json!({"alg": "NONE", "typ": "JWT"}),
    ] {
        let signed = with_header(&header, &claims());
        let (message, _) = signed.rsplit_once('.').unwrap();
        for token in [&signed, &format!("{message}."), &format!("{message}.AA")] {
            assert!(outcome(&access, token).contains("Algorithm"), "{header}");
        }
    }
    for alg in ["HS384", "HS512", "RS384", "PS256", "ES384", "hs256", ""] {
        assert!(
            outcome(&access, &with_header(&json!({"alg": alg}), &claims())).contains("Algorithm"),
            "{alg}"
        );
    }
    for header in [
        json!({}),
        json!({"alg": null}),
        json!({"alg": ["HS256"]}),
        json!([]),
        json!("HS256"),
    ] {
        assert!(
            outcome(&access, &with_header(&header, &claims())).contains("Malformed"),
            "{header}"
        );
    }
    let critical = json!({"alg": "HS256", "crit": ["exp"]});
    assert!(outcome(&access, &with_header(&critical, &claims())).contains("Malformed"));
}

/// A public key is known to everyone: taken for a secret, it would sign anything.
#[test]
fn a_public_key_is_no_secret() {
    let access = rules(
        &ALL_ALGORITHMS
            .replace("\"HS256\", ", "")
            .replace("secret_file = \"DIR/secret\"\n", ""),
    );
    let pem = std::fs::read(format!("{KEYS}/rsa.public.pem")).unwrap();
    let der = {
        use base64::Engine;
        let lines: String = String::from_utf8_lossy(&pem)
            .lines()
            .filter(|line| !line.contains("---"))
            .collect();
        base64::engine::general_purpose::STANDARD.decode(lines).unwrap()
    };
    for secret in [&pem[..], pem.trim_ascii_end(), &der] {
        let token = encode(
            &Header::new(Algorithm::HS256),
            &claims(),
            &EncodingKey::from_secret(secret),
        )
        .unwrap();
        assert!(outcome(&access, &token).contains("Algorithm"));
    }
    // Also where HS256 is taken, a public key signs nothing.
    let both = rules(ALL_ALGORITHMS);
    for secret in [&pem[..], pem.trim_ascii_end(), &der] {
        let token = encode(
            &Header::new(Algorithm::HS256),
            &claims(),
            &EncodingKey::from_secret(secret),
        )
        .unwrap();
        assert!(outcome(&both, &token).contains("Signature"));
        let claimed = token.replacen(
            token.split('.').next().unwrap(),
            &base64url(br#"{"alg":"RS256"}"#),
            1,
        );
        assert!(outcome(&both, &claimed).contains("Signature"));
    }
}

#[test]
fn claims_that_are_not_taken() {
    let access = rules(ALL_ALGORITHMS);
    let with = |changes: Value| hs256(&claims_with(changes));
    for (changes, expected) in [
        (
            json!({"exp": null}),
            "unauthenticated Claims: the token's claims cannot be used: exp is missing",
        ),
        (
            json!({"exp": (NOW_S + 60).to_string()}),
            "unauthenticated Claims: the token's claims cannot be used: exp must be a number",
        ),
        (
            json!({"exp": [NOW_S + 60]}),
            "unauthenticated Claims: the token's claims cannot be used: exp must be a number",
        ),
        (
            json!({"exp": true}),
            "unauthenticated Claims: the token's claims cannot be used: exp must be a number",
        ),
        (
            json!({"exp": NOW_S}),
            "token_expired Expired: the token has expired",
        ),
        (json!({"exp": 0}), "token_expired Expired: the token has expired"),
        (json!({"exp": -1}), "token_expired Expired: the token has expired"),
        (
            json!({"nbf": NOW_S + 1}),
            "unauthenticated NotYet: the token is not valid yet",
        ),
        (
            json!({"nbf": "0"}),
            "unauthenticated Claims: the token's claims cannot be used: nbf must be a number",
        ),
        (
            json!({"aud": "other"}),
            "unauthenticated Audience: the token is for another audience",
        ),
        (
            json!({"aud": null}),
            "unauthenticated Audience: the token is for another audience",
        ),
        (
            json!({"aud": []}),
            "unauthenticated Audience: the token is for another audience",
        ),
        (
            json!({"aud": {"tickwire": 1}}),
            "unauthenticated Claims: the token's claims cannot be used: aud must be a text or a list of texts",
        ),
        (
            json!({"aud": ["tickwire", 1]}),
            "unauthenticated Claims: the token's claims cannot be used: aud must be a text or a list of texts",
        ),
        (
            json!({"iss": "https://issuer.example.evil"}),
            "unauthenticated Issuer: the token is of another issuer",
        ),
        (
            json!({"iss": null}),
            "unauthenticated Issuer: the token is of another issuer",
        ),
        (
            json!({"iss": ["https://issuer.example"]}),
            "unauthenticated Claims: the token's claims cannot be used: iss must be a text of at most 512 bytes",
        ),
        (
            json!({"sub": null}),
            "unauthenticated Claims: the token's claims cannot be used: sub is missing",
        ),
        (
            json!({"sub": 7}),
            "unauthenticated Claims: the token's claims cannot be used: sub must be a text of at most 512 bytes",
        ),
        (
            json!({"tickwire": {"subscribe": ["a..b"]}}),
            "unauthenticated Claims: the token's claims cannot be used: tickwire.subscribe[0]: empty token at byte 2",
        ),
        (
            json!({"tickwire": {"subscribe": vec!["a"; 129]}}),
            "unauthenticated Claims: the token's claims cannot be used: tickwire.subscribe must have at most 128 patterns",
        ),
    ] {
        assert_eq!(outcome(&access, &with(changes.clone())), expected, "{changes}");
    }
    // A deny that is misspelt would be none.
    for grants in [
        json!({"deny_subscribes": ["a"]}),
        json!({"subscribe": "a"}),
        json!(["a"]),
    ] {
        let outcome = outcome(&access, &with(json!({"tickwire": grants})));
        assert!(outcome.contains("Claims"), "{outcome}");
    }
}

#[test]
fn claims_that_are_taken() {
    let access = rules(ALL_ALGORITHMS);
    let with = |changes: Value| outcome(&access, &hs256(&claims_with(changes)));
    let granted = outcome(&access, &hs256(&claims()));
    assert_eq!(with(json!({"aud": ["other", "tickwire"]})), granted);
    assert_eq!(with(json!({"nbf": NOW_S, "more": {"than": "known"}})), granted);
    expect!["subscribe [] but [], publish [] but [], expires Some(1)"]
        .assert_eq(&with(json!({"exp": NOW_S as f64 + 1.5, "tickwire": null})));
    expect!["subscribe [] but [], publish [] but [], expires Some(98205000000)"]
        .assert_eq(&with(json!({"exp": 1e300, "tickwire": {}})));
}

#[test]
fn a_claim_twice_is_no_claim() {
    let access = rules(ALL_ALGORITHMS);
    let text = claims()
        .to_string()
        .replacen('{', &format!("{{\"exp\":{},", NOW_S + 999), 1);
    let message = format!(
        "{}.{}",
        base64url(br#"{"alg":"HS256"}"#),
        base64url(text.as_bytes())
    );
    let key = EncodingKey::from_secret(SECRET);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    assert!(outcome(&access, &format!("{message}.{signature}")).contains("Claims"));
}

#[test]
fn clocks_may_differ_by_what_is_set() {
    let access = rules(&format!("{ALL_ALGORITHMS}leeway_s = 10\n"));
    let with = |changes: Value| outcome(&access, &hs256(&claims_with(changes)));
    assert!(with(json!({"exp": NOW_S - 9})).ends_with("expires Some(1)"));
    assert!(with(json!({"exp": NOW_S - 10})).contains("Expired"));
    assert!(with(json!({"nbf": NOW_S + 10})).starts_with("subscribe"));
    assert!(with(json!({"nbf": NOW_S + 11})).contains("NotYet"));
}

#[test]
fn tokens_cut_or_changed_anywhere() {
    let access = rules(ALL_ALGORITHMS);
    let token = hs256(&claims());
    for end in 0..token.len() {
        assert!(
            !outcome(&access, &token[..end]).starts_with("subscribe"),
            "cut at {end}"
        );
    }
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(
            !outcome(&access, &changed).starts_with("subscribe"),
            "changed at {at}"
        );
    }
    for text in ["", ".", "..", "...", "a.b.c.d", "\u{e9}.a.b", "a b.c.d"] {
        check_denied(&access, text);
    }
    assert!(outcome(&access, &"a".repeat(TOKEN_BYTES_MAX + 1)).contains("longer than 8192 bytes"));
    assert!(outcome(&access, &format!("{token}{}", "A".repeat(8_000))).starts_with("unauthenticated"));
    check_denied(&access, &format!("{token}."));
    check_denied(&access, &format!("{token}="));
}

#[track_caller]
fn check_denied(access: &Access, token: &str) {
    let outcome = outcome(access, token);
    assert!(outcome.starts_with("unauthenticated"), "{token:?}: {outcome}");
}

const KEY_SET: &str = "[auth.jwt]\nalgorithms = [\"RS256\", \"ES256\", \"EdDSA\"]\njwks_file = \"KEYS/jwks.json\"\naudience = \"tickwire\"\n";

#[test]
fn a_kid_chooses_among_known_keys_and_is_nothing_else() {
    let access = rules(KEY_SET);
    let signed = |kid: Option<&str>| {
        let header = Header {
            kid: kid.map(str::to_owned),
            ..Header::new(Algorithm::EdDSA)
        };
        let key = EncodingKey::from_ed_pem(&private("ed25519")).unwrap();
        outcome(&access, &encode(&header, &claims(), &key).unwrap())
    };
    for kid in [None, Some("d1")] {
        assert!(signed(kid).starts_with("subscribe"), "{kid:?}: {}", signed(kid));
    }
    let paths = [
        "e1",
        "r1",
        "enc",
        "other",
        "",
        "../../../../../../dev/null",
        "/dev/null",
        "d1\0",
        "' OR 1=1",
        "file:///dev/zero",
        "http://127.0.0.1:1/",
    ];
    for kid in paths {
        assert!(signed(Some(kid)).contains("Signature"), "{kid}");
    }
}

/// Nothing that a header names is opened: a listener at the addresses waits in vain.
#[test]
fn no_key_is_fetched() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let access = rules(ALL_ALGORITHMS);
    for name in ["jku", "x5u", "kid"] {
        let mut header = json!({"alg": "RS256", "x5c": [url], "jwk": {"kty": "oct", "k": base64url(SECRET)}});
        header[name] = json!(url);
        let claims = claims_with(json!({"iss": url}));
        check_denied(&access, &with_header(&header, &claims));
        header["alg"] = json!("HS256");
        check_denied(&access, &with_header(&header, &claims));
    }
    assert_eq!(
        listener.accept().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
}

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
    let holder = access.verify(&key, NOW).unwrap().holder.unwrap();
    assert!(access.knows(&holder));
    assert!(
        !rules(&entry("desk", &other, "")).knows(&holder),
        "another key of the same name"
    );
    // FIPS 180-4, the example of one block.
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
fn settings_that_would_let_nobody_or_anybody_in() {
    refused(
        "[auth]\nrequired = true",
        &expect![
            "auth.required = true (from file x.toml): nobody could connect: set auth.keys or auth.jwt, so that there are tokens to show"
        ],
    );
    refused(
        "[auth]\nallowed_origins = [\"example.com\"]",
        &expect![[
            r#"auth.allowed_origins = ["example.com"] (from file x.toml): "example.com" is no origin: write scheme, host and perhaps a port, as https://example.com:8443"#
        ]],
    );
    refused(
        "[auth]\nallowed_origins = [\"https://example.com/\"]",
        &expect![[
            r#"auth.allowed_origins = ["https://example.com/"] (from file x.toml): "https://example.com/" is no origin: write scheme, host and perhaps a port, as https://example.com:8443"#
        ]],
    );
    refused(
        "[auth]\nanonymous_subscribe = [\"a..b\"]",
        &expect![[
            r#"auth.anonymous_subscribe = ["a..b"] (from file x.toml): "a..b" is no pattern: empty token at byte 2"#
        ]],
    );
    refused(
        "[[auth.keys]]\nname = \"a\"\nsha256 = \"tw_the-key-itself\"",
        &expect![
            "auth.keys[0].sha256 = (not shown) (from file x.toml): must be the 64 hexadecimal digits that tickwire hash-key prints, never the key itself"
        ],
    );
    refused(
        "[[auth.keys]]\nname = \"a\"",
        &expect![
            "auth.keys[0].sha256 = nothing (from file x.toml): must be the 64 hexadecimal digits that tickwire hash-key prints, never the key itself"
        ],
    );
    refused(
        "[[auth.keys]]\nname = \"a\"\nkey = \"x\"",
        &expect!["auth.keys[0].key (from file x.toml) is no setting; the nearest is auth.keys[0].name"],
    );
    refused(
        "[auth]\nkeys = [\"tw_the-key-itself\"]",
        &expect![
            "auth.keys[0] = (not shown) (from file x.toml): must be a table with fields such as name, sha256, subscribe, publish, deny_subscribe, deny_publish"
        ],
    );
    let hash = KeyHash::of("a");
    refused(
        &format!("[[auth.keys]]\nname = \"a\"\nsha256 = \"{hash}\"\ndeny_subscribe = [\"a b\"]"),
        &expect![[
            r#"auth.keys[0].deny_subscribe = ["a b"] (from file x.toml): "a b" is no pattern: byte 1 (' ') is not one of A-Z a-z 0-9 _ - ."#
        ]],
    );
    refused(
        &format!(
            "[[auth.keys]]\nname = \"a\"\nsha256 = \"{hash}\"\n[[auth.keys]]\nname = \"b\"\nsha256 = \"{hash}\""
        ),
        &expect![
            "auth.keys[1].sha256 = (not shown) (from file x.toml): is the hash of an earlier key as well"
        ],
    );
}

#[test]
fn settings_of_tokens_that_cannot_be() {
    let jwt = |text: &str| format!("[auth.jwt]\n{text}");
    refused(
        &jwt("algorithms = []\nsecret_file = \"DIR/secret\""),
        &expect![
            "auth.jwt.algorithms = [] (from file x.toml): must be a list of one or more of HS256, RS256, ES256, EdDSA"
        ],
    );
    refused(
        &jwt("algorithms = [\"none\"]\nsecret_file = \"DIR/secret\""),
        &expect![[
            r#"auth.jwt.algorithms = ["none"] (from file x.toml): must be a list of one or more of HS256, RS256, ES256, EdDSA"#
        ]],
    );
    refused(
        &jwt("algorithms = [\"HS256\"]"),
        &expect![[
            r#"auth.jwt = {algorithms = ["HS256"]} (from file x.toml): names no key: set secret_file (HS256), public_key_files or jwks_file"#
        ]],
    );
    refused(
        &jwt("algorithms = [\"HS256\"]\nsecret = \"x\""),
        &expect!["auth.jwt.secret (from file x.toml) is no setting; the nearest is auth.jwt.secret_file"],
    );
    refused(
        &jwt("algorithms = [\"HS256\"]\nsecret_file = \"DIR/none\""),
        &expect!["auth.jwt.secret_file names none: No such file or directory (os error 2)"],
    );
    refused(
        &jwt("algorithms = [\"HS256\"]\nsecret_file = \"KEYS/README.md\"\nleeway_s = 301"),
        &expect!["auth.jwt.leeway_s = 301 (from file x.toml): must be between 0 and 300"],
    );
    refused(
        &jwt("algorithms = [\"RS256\"]\nsecret_file = \"DIR/secret\""),
        &expect![
            "auth.jwt.secret_file names secret, a key for HS256, which is not among auth.jwt.algorithms: add it there or take the key away"
        ],
    );
    refused(
        &jwt("algorithms = [\"RS256\", \"HS256\"]\nsecret_file = \"DIR/secret\""),
        &expect![
            "auth.jwt.algorithms has RS256, but no key for it: HS256 needs secret_file; RS256, ES256 and EdDSA need a public key in public_key_files or jwks_file"
        ],
    );
    refused(
        &jwt("algorithms = [\"ES256\"]\npublic_key_files = [\"KEYS/rsa.public.pem\"]"),
        &expect![
            "auth.jwt.public_key_files names KEYS/rsa.public.pem, a key for RS256, which is not among auth.jwt.algorithms: add it there or take the key away"
        ],
    );
    refused(
        &jwt("algorithms = [\"RS256\"]\npublic_key_files = [\"KEYS/rsa.private.pem\"]"),
        &expect![
            "auth.jwt.public_key_files names KEYS/rsa.private.pem, which holds a private key: keep that where tokens are signed, and put its public key here"
        ],
    );
    refused(
        &jwt("algorithms = [\"RS256\"]\npublic_key_files = [\"KEYS/rsa1024.public.pem\"]"),
        &expect![[
            r#"auth.jwt.public_key_files names KEYS/rsa1024.public.pem, which holds no public key of RSA (2048 bits or more), P-256 or Ed25519 in PEM ("BEGIN PUBLIC KEY")"#
        ]],
    );
    refused(
        &jwt("algorithms = [\"RS256\"]\npublic_key_files = [\"KEYS/README.md\"]"),
        &expect![[
            r#"auth.jwt.public_key_files names KEYS/README.md, which holds no public key of RSA (2048 bits or more), P-256 or Ed25519 in PEM ("BEGIN PUBLIC KEY")"#
        ]],
    );
    refused(
        &jwt("algorithms = [\"RS256\"]\njwks_file = \"KEYS/README.md\""),
        &expect!["auth.jwt.jwks_file names KEYS/README.md, which is no JSON Web Key Set: line 1, column 1"],
    );
    refused(
        &jwt("algorithms = [\"RS256\", \"HS256\"]\njwks_file = \"KEYS/jwks.json\""),
        &expect![
            "auth.jwt.algorithms has HS256, but no key for it: HS256 needs secret_file; RS256, ES256 and EdDSA need a public key in public_key_files or jwks_file"
        ],
    );
}

#[test]
fn secrets_and_sets_that_are_too_short() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name).display().to_string()
    };
    let short = file("short", "only-thirty-one-bytes-not-enough\n");
    let access = |text: &str| load(&folder, &format!("[auth.jwt]\n{text}"));
    assert!(
        access(&format!("algorithms = [\"HS256\"]\nsecret_file = {short:?}")).is_ok(),
        "32 and a line break"
    );
    let short = file("short", "only-thirty-one-bytes-not-enoug\n");
    let error = access(&format!("algorithms = [\"HS256\"]\nsecret_file = {short:?}")).unwrap_err();
    assert!(
        error.ends_with("whose secret has 31 bytes; HS256 needs 32 random ones at least (RFC 7518 §3.2)"),
        "{error}"
    );
    // The library would panic when it verifies with such a key.
    for key in [
        json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}),
        json!({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}),
        json!({"kty": "RSA", "n": "AAAA", "e": "AQAB"}),
        json!({"kty": "oct", "k": "AAAA"}),
    ] {
        let set = file("set", &json!({"keys": [key]}).to_string());
        let error = access(&format!(
            "algorithms = [\"HS256\", \"RS256\", \"ES256\", \"EdDSA\"]\njwks_file = {set:?}"
        ));
        let error = error.unwrap_err();
        assert!(
            error.ends_with("its key number 1 (from 1) is too short or no point of its curve"),
            "{error}"
        );
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
