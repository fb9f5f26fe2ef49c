//! Server-sent events as bytes (HTML Living Standard, "Server-sent events", §9.2.6).
//!
//! An event ends with an empty line, so a line break in the data would cut it short: each line of the data gets its own
//! `data:`, and the browser puts them together again with `\n`, which in JSON stands only between tokens.

use std::io::Write;

use super::Cursor;

/// Content type of a stream.
pub const CONTENT_TYPE: &str = "text/event-stream";

/// Appends an event called `name` with `data`; a client that reconnects after it names `cursor`, where there is one.
///
/// # Panics
/// Never: writing to memory cannot fail.
pub fn write_event(name: &'static str, cursor: Option<&Cursor>, data: &[u8], out: &mut Vec<u8>) {
    debug_assert!(!name.contains(['\r', '\n']), "a name is one line");
    writeln!(out, "event: {name}").expect("writing to memory");
    if let Some(cursor) = cursor {
        writeln!(out, "id: {cursor}").expect("writing to memory");
    }
    let mut rest = data;
    loop {
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
        rest = match after {
            [] => break,
            [b'\r', b'\n', next @ ..] | [_, next @ ..] => next,
        };
    }
    out.push(b'\n');
}

/// Appends a comment, which keeps the connection busy and which clients pass over.
pub fn write_comment(text: &'static str, out: &mut Vec<u8>) {
    debug_assert!(!text.contains(['\r', '\n']), "a comment is one line");
    out.extend_from_slice(b": ");
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\n\n");
}

/// Appends the time in milliseconds that a client waits before it reconnects.
///
/// # Panics
/// Never: writing to memory cannot fail.
pub fn write_retry(retry_ms: u64, out: &mut Vec<u8>) {
    write!(out, "retry: {retry_ms}\n\n").expect("writing to memory");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(cursor: Option<&Cursor>, data: &str) -> String {
        let mut out = Vec::new();
        write_event("update", cursor, data.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    /// The data of the events of `stream`, by the rules that browsers follow.
    fn read(stream: &str) -> Vec<String> {
        let (mut events, mut data) = (Vec::new(), None::<String>);
        for line in stream.replace("\r\n", "\n").replace('\r', "\n").lines() {
            if line.is_empty() {
                events.extend(data.take());
            } else if let Some(text) = line.strip_prefix("data:") {
                let text = text.strip_prefix(' ').unwrap_or(text);
                data = Some(match data {
                    Some(before) => format!("{before}\n{text}"),
                    None => text.to_owned(),
                });
            }
        }
        events
    }

    #[test]
    fn events_on_the_wire() {
        let cursor: Cursor = "k3v9:57,0".parse().unwrap();
        assert_eq!(
            written(Some(&cursor), r#"{"op":"update"}"#),
            "event: update\nid: k3v9:57,0\ndata: {\"op\":\"update\"}\n\n"
        );
        assert_eq!(written(None, "{}"), "event: update\ndata: {}\n\n");
        assert_eq!(
            written(None, "{\n\"a\":\r\n1\r}"),
            "event: update\ndata: {\ndata: \"a\":\ndata: 1\ndata: }\n\n"
        );
        assert_eq!(written(None, ""), "event: update\ndata: \n\n");
        assert_eq!(written(None, "1\n"), "event: update\ndata: 1\ndata: \n\n");
        let mut out = Vec::new();
        write_comment("heartbeat", &mut out);
        write_retry(1_500, &mut out);
        assert_eq!(out, b": heartbeat\n\nretry: 1500\n\n");
    }

    proptest! {
        #[test]
        fn no_data_breaks_out_of_its_event(data in "[a\r\n: ]{0,20}") {
            let stream = written(None, &data) + &written(None, "next");
            let same = data.replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(read(&stream), [same, "next".to_owned()]);
        }
    }
}
