//! The code of a Rust file without its comments and without what stands in its literals.
//!
//! Lines and columns stay where they are: what is taken out becomes spaces. Not a parser; a file that does not compile
//! gives some text of the same number of lines.

/// `source` with spaces in place of comments and of the contents of strings and characters.
pub(super) fn code_of(source: &str) -> String {
    let mut rest = source;
    let mut code = String::with_capacity(source.len());
    while let Some(first) = rest.chars().next() {
        let is_word = code.ends_with(is_word_part);
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => string(rest),
            'r' | 'b' | 'c' if !is_word => raw_string(rest),
            '\'' => character(rest),
            _ => 0,
        };
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    code
}

/// Whether `word` stands in `text` with no letter, digit or underscore on either side.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(is_word_part) && !text[at + word.len()..].starts_with(is_word_part)
    })
}

fn is_word_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length of the comment, which may hold others.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of the string with both quotes.
fn string(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of the raw string, its prefix with it; 0 when it is none.
fn raw_string(text: &str) -> usize {
    let Some(hashes) = ["r", "br", "cr"].iter().find_map(|prefix| {
        let rest = text.strip_prefix(prefix)?;
        let body = rest.trim_start_matches('#');
        body.starts_with('"').then(|| rest.len() - body.len())
    }) else {
        return 0;
    };
    let body = text.find('"').map_or(text.len(), |quote| quote + 1);
    let end = format!("\"{}", "#".repeat(hashes));
    text[body..]
        .find(&end)
        .map_or(text.len(), |at| body + at + end.len())
}

/// Length of the character literal with both quotes; 0 when it is a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            let closing = chars.skip(1).find(|&(_, c)| c == '\'');
            closing.map_or(0, |(at, _)| at + 1)
        }
        Some(_) => chars
            .next()
            .filter(|&(_, c)| c == '\'')
            .map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_what_is_not_text() {
        for (source, code) in [
            ("let a = 1; // b", "let a = 1;     "),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"say("b \" c \\"); d"#, r"say(           ); d"),
            (r##"say(r#"b " c"#, e)"##, r"say(          , e)"),
            ("br\"\\\" a", "      a"),
            ("bar\"b\" a", "bar    a"),
            (
                r#"if c == '"' { a('\'', '\\', 'é') }"#,
                r"if c ==     { a(    ,     ,    ) }",
            ),
            ("fn f<'a>(a: &'a str)", "fn f<'a>(a: &'a str)"),
            ("a(\"b\nfn c()\n\"); d", "a(  \n      \n ); d"),
            ("a \"b", "a   "),
            ("a /* b\n", "a     \n"),
            ("r", "r"),
            ("'", "'"),
        ] {
            assert_eq!(code_of(source), code, "{source}");
        }
    }

    #[test]
    fn words_stand_alone() {
        assert!(has_word("unsafe { a }", "unsafe") && has_word("(unsafe)", "unsafe"));
        assert!(
            !has_word("unsafe_code", "unsafe") && !has_word("an_unsafe", "unsafe") && !has_word("", "unsafe")
        );
    }
}
