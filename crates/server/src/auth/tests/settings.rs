//! Settings of access that are refused, with the messages. `UPDATE_EXPECT=1` rewrites them.

use super::*;

#[track_caller]
fn refused(auth: &str, expected: &Expect) {
    let folder = tempfile::tempdir().unwrap();
    let error = load(&folder, auth).unwrap_err();
    let error = error
        .replace(KEYS, "KEYS")
        .replace(&format!("{}/", folder.path().display()), "");
    expected.assert_eq(&error);
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
            "auth.keys[0] = (not shown) (from file x.toml): must be a table with fields such as name, sha256, subscribe, publish, deny_subscribe, deny_publish, publishes_per_s, publishes_burst, connections, subscriptions, ops_per_s, ops_burst, bytes_per_s, stamp, close_sessions"
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
#[expect(clippy::too_many_lines, reason = "a table of cases")]
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
            error.ends_with("of whose 1 keys none can be used: its key number 1 (from 1) is too short or no point of its curve"),
            "{error}"
        );
    }
}

/// An element of DER: its tag, its length in two bytes, and its content (X.690 §8.1.3.5).
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82, len[0], len[1]], content].concat()
}

/// An odd number of `bits` bits. Without factoring it, it looks like the product of two primes.
fn modulus(bits: usize) -> Vec<u8> {
    let mut bytes = vec![0xff; bits.div_ceil(8)];
    bytes[0] >>= 8 * bytes.len() - bits;
    bytes
}

/// The length of the modulus counts, not that of the file or of the bytes that the modulus is written in.
#[test]
fn rsa_keys_are_measured_by_the_bits_of_their_modulus() {
    use base64::engine::{Engine, general_purpose::STANDARD};

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let is_taken = |setting: &str, text: &str| {
        std::fs::write(&file, text).unwrap();
        let auth = format!("[auth.jwt]\nalgorithms = [\"RS256\"]\n{setting}");
        match load(&folder, &auth) {
            Ok(_) => true,
            Err(error) if error.contains("2048 bits") || error.contains("too short") => false,
            Err(error) => panic!("{error}"),
        }
    };
    for (bits, taken) in [
        (1_024, false),
        (1_944, false),
        (1_984, false),
        (2_040, false),
        (2_047, false),
        (2_048, true),
        (2_049, true),
        (4_096, true),
    ] {
        let (modulus, exponent) = (modulus(bits), [1, 0, 1]);
        // There is a zero byte before a first bit that is set, or the number would be negative (X.690 §8.3.3).
        let zero: &[u8] = if modulus[0] >= 0x80 { &[0] } else { &[] };
        let integer = element(0x02, &[zero, &modulus].concat());
        let key = element(0x30, &[integer, element(0x02, &exponent)].concat());
        let lines = STANDARD.encode(key);
        let pem = format!("-----BEGIN RSA PUBLIC KEY-----\n{lines}\n-----END RSA PUBLIC KEY-----\n");
        let in_pem = is_taken("public_key_files = [\"DIR/key\"]", &pem);
        assert_eq!(in_pem, taken, "{bits} bits in PEM");
        let key = json!({"kty": "RSA", "n": base64url(&modulus), "e": base64url(&exponent)});
        let in_set = is_taken("jwks_file = \"DIR/key\"", &json!({"keys": [key]}).to_string());
        assert_eq!(in_set, taken, "{bits} bits in a set");
    }
}

/// Several people contribute keys to a set: one bad key must not disable the others (RFC 7517 §5).
#[test]
fn keys_of_a_set_that_cannot_be_used_do_not_spoil_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let good = json!({"kty": "oct", "kid": "good", "k": base64url(SECRET)});
    let weak = json!({"kty": "RSA", "n": base64url(&modulus(1_024)), "e": "AQAB", "alg": "RS256"});
    let others = [
        weak.clone(),
        json!({"kty": "oct", "k": base64url(SECRET), "kid": 7}),
        json!({"kty": "oct", "k": "AAAA"}),
        json!({"kty": "oct", "k": "not base64url!"}),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"}),
        json!({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}),
        json!({"kty": "oct", "k": base64url(SECRET), "alg": "HS1024"}),
        json!({"k": base64url(SECRET)}),
        json!([]),
        json!(7),
        json!(null),
    ];
    let with = |keys: &[&Value], algorithms: &str| {
        std::fs::write(folder.path().join("set"), json!({"keys": keys}).to_string()).unwrap();
        load(
            &folder,
            &format!("[auth.jwt]\nalgorithms = [{algorithms}]\njwks_file = \"DIR/set\""),
        )
    };
    let claims = json!({"sub": "a", "exp": NOW_S + 60});
    for other in &others {
        for keys in [[other, &good], [&good, other]] {
            let access = with(&keys, "\"HS256\", \"RS256\", \"ES256\"")
                .unwrap_or_else(|error| panic!("{other}: {error}"));
            assert!(
                outcome(&access, &hs256(&claims)).starts_with("subscribe"),
                "{other}"
            );
            let number = keys.iter().position(|key| *key == other).unwrap() + 1;
            let [named] = access.ignored_keys() else {
                panic!("{other}: {:?}", access.ignored_keys());
            };
            assert!(
                named.contains(&format!("/set: its key number {number} (from 1) ")),
                "{named}"
            );
            assert!(!named.contains(&base64url(SECRET)), "no key is shown: {named}");
        }
        let error = with(&[other], "\"HS256\", \"RS256\", \"ES256\"").unwrap_err();
        assert!(
            error.contains("of whose 1 keys none can be used: its key number 1 (from 1) "),
            "{error}"
        );
    }
    let error = with(&[], "\"HS256\"").unwrap_err();
    assert!(error.ends_with("of whose 0 keys none can be used"), "{error}");
    // If there are very many, only some are named.
    let many: Vec<&Value> = std::iter::repeat_n(&others[9], 1_000).chain([&good]).collect();
    let access = with(&many, "\"HS256\"").unwrap();
    assert_eq!(access.ignored_keys().len(), 17);
    assert!(access.ignored_keys()[16].ends_with("984 more of its keys cannot be used"));
    // A key that is no longer in the set is not accepted, whatever else is in the set.
    let next = json!({"kty": "oct", "kid": "next", "k": base64url(&[7; 32])});
    let access = with(&[&weak, &next], "\"HS256\", \"RS256\"").unwrap();
    assert!(outcome(&access, &hs256(&claims)).contains("Signature"));
    // Keys for other purposes are ignored silently, but cannot verify.
    let enc = json!({"kty": "oct", "use": "enc", "k": base64url(SECRET)});
    assert!(
        with(&[&enc, &good], "\"HS256\"")
            .unwrap()
            .ignored_keys()
            .is_empty()
    );
    let error = with(&[&enc], "\"HS256\"").unwrap_err();
    assert!(error.ends_with("of whose 1 keys none can be used"), "{error}");
}

#[test]
fn a_key_may_have_a_publication_rate_of_its_own() {
    let hash = "0".repeat(64);
    let rate_of = |fields: &str| {
        let folder = tempfile::tempdir().unwrap();
        let auth = format!("[[auth.keys]]\nname = \"desk\"\nsha256 = \"{hash}\"\n{fields}");
        let access = load(&folder, &auth)?;
        Ok::<_, String>(
            access.keys[0]
                .rights
                .publish_rate
                .map(|rate| (rate.per_s, rate.burst)),
        )
    };
    assert_eq!(rate_of(""), Ok(None));
    assert_eq!(rate_of("publishes_per_s = 7"), Ok(Some((7, 14))));
    assert_eq!(
        rate_of("publishes_per_s = 7\npublishes_burst = 7"),
        Ok(Some((7, 7)))
    );
    for (fields, rule) in [
        (
            "publishes_per_s = 0",
            "auth.keys[0].publishes_per_s = 0 (from file ",
        ),
        (
            "publishes_per_s = \"7\"",
            "must be a whole number between 1 and 1000000",
        ),
        ("publishes_burst = 7", "needs publishes_per_s beside it"),
        (
            "publishes_per_s = 7\npublishes_burst = 6",
            "must be at least publishes_per_s",
        ),
    ] {
        let error = rate_of(fields).unwrap_err();
        assert!(error.contains(rule), "{fields}: {error}");
    }
}
