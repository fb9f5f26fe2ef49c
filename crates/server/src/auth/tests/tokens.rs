//! JSON Web Tokens: valid ones and those of attackers.

use super::*;

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

/// CVE-2015-9235 and similar ones: a token must not choose how it is verified.
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

/// Everyone knows a public key: taken for a secret, it would sign anything.
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
    let both = rules(ALL_ALGORITHMS);
    for secret in [&pem[..], pem.trim_ascii_end(), &der] {
        let token = encode(
            &Header::new(Algorithm::HS256),
            &claims(),
            &EncodingKey::from_secret(secret).unwrap(),
        )
        .unwrap();
        assert!(outcome(&access, &token).contains("Algorithm"));
        // A public key signs nothing even if HS256 is accepted.
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
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn claims_that_are_not_taken() {
    let access = rules(ALL_ALGORITHMS);
    let with = |changes: Value| hs256(&claims_with(&changes));
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
            json!({"jti": 7}),
            "unauthenticated Claims: the token's claims cannot be used: jti must be a text of at most 512 bytes",
        ),
        (
            json!({"jti": ""}),
            "unauthenticated Claims: the token's claims cannot be used: jti must be a text of at most 512 bytes",
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
    // A misspelt deny would deny nothing.
    for grants in [
        json!({"deny_subscribes": ["a"]}),
        json!({"subscribe": "a"}),
        json!(["a"]),
        // A list of the fields in their order, without names, is not accepted either.
        json!([]),
        json!([["a"]]),
        json!([["a"], ["a"], [], [], null, null]),
        json!({"publishes_per_s": 0}),
        json!({"publishes_per_s": -1}),
        json!({"publishes_per_s": 1.5}),
        json!({"publishes_per_s": "7"}),
        json!({"publishes_burst": 7}),
        json!({"stamp": "true"}),
        json!({"stamp": 1}),
        json!({"publishes_per_s": 7, "publishes_burst": 6}),
    ] {
        let outcome = outcome(&access, &with(json!({"tickwire": grants})));
        assert!(outcome.contains("Claims"), "{outcome}");
    }
}

/// A derived reader would take such a list for an object.
#[test]
fn a_header_or_claims_as_a_list_are_none() {
    let access = rules(ALL_ALGORITHMS);
    for header in [json!(["HS256"]), json!(["HS256", null, null])] {
        let outcome = outcome(&access, &with_header(&header, &claims()));
        assert!(outcome.contains("Malformed"), "{header}: {outcome}");
    }
    let list =
        json!(["desk-7", NOW_S + 60, null, "tickwire", "https://issuer.example", {"subscribe": [">"]}]);
    let outcome = outcome(&access, &with_header(&json!({"alg": "HS256"}), &list));
    assert!(outcome.contains("Claims"), "{outcome}");
}

#[test]
fn a_token_may_grant_a_publication_rate() {
    let access = rules(ALL_ALGORITHMS);
    for (grants, rate) in [
        (json!({}), None),
        (json!({"publishes_per_s": 7}), Some((7, 14))),
        (json!({"publishes_per_s": 7, "publishes_burst": 9}), Some((7, 9))),
        (
            json!({"publishes_per_s": u32::MAX}),
            Some((10_000_000, 10_000_000)),
        ),
    ] {
        let token = hs256(&claims_with(&json!({"tickwire": grants})));
        let admission = access.verify(&Secret::from(&*token), NOW).unwrap();
        let granted = admission.rights.publish_rate.map(|rate| (rate.per_s, rate.burst));
        assert_eq!(granted, rate, "{grants}");
    }
}

#[test]
fn a_token_may_grant_the_time_of_messages() {
    let access = rules(ALL_ALGORITHMS);
    for (grants, stamp) in [
        (json!({}), false),
        (json!({"stamp": false}), false),
        (json!({"stamp": true}), true),
    ] {
        let token = hs256(&claims_with(&json!({"tickwire": grants})));
        let admission = access.verify(&Secret::from(&*token), NOW).unwrap();
        assert_eq!(admission.rights.stamp, stamp, "{grants}");
    }
}

#[test]
fn claims_that_are_taken() {
    let access = rules(ALL_ALGORITHMS);
    let with = |changes: Value| outcome(&access, &hs256(&claims_with(&changes)));
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
    let key = EncodingKey::from_secret(SECRET).unwrap();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    assert!(outcome(&access, &format!("{message}.{signature}")).contains("Claims"));
}

#[test]
fn clocks_may_differ_by_what_is_set() {
    let access = rules(&format!("{ALL_ALGORITHMS}leeway_s = 10\n"));
    let with = |changes: Value| outcome(&access, &hs256(&claims_with(&changes)));
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

/// No address in a header is opened: a listener there waits in vain.
#[test]
fn no_key_is_fetched() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let access = rules(ALL_ALGORITHMS);
    for name in ["jku", "x5u", "kid"] {
        let mut header = json!({"alg": "RS256", "x5c": [url], "jwk": {"kty": "oct", "k": base64url(SECRET)}});
        header[name] = json!(url);
        let claims = claims_with(&json!({"iss": url}));
        check_denied(&access, &with_header(&header, &claims));
        header["alg"] = json!("HS256");
        check_denied(&access, &with_header(&header, &claims));
    }
    assert_eq!(
        listener.accept().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
}
