//! A WebSocket client of another project, controlled line by line.
//!
//! The library does handshake, masking, ping and close as for any user; the script around it only passes messages on.
//! All scripts take the same few commands, so a test can run with each of them.

use std::path::Path;

use serde_json::{Value, json};

use super::{Broker, Script, test_file};

/// The codec of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Json,
    Msgpack,
}

impl Codec {
    /// Both codecs.
    pub(crate) const ALL: [Self; 2] = [Self::Json, Self::Msgpack];

    /// The name of the codec in the subprotocols.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Msgpack => "msgpack",
        }
    }
}

/// A connection. Messages are JSON whatever the codec. Arrays of MessagePack become the maps that they stand for.
#[derive(Debug)]
pub(crate) struct Client {
    script: Script,
    /// The broker's first message.
    pub(crate) welcome: Value,
    asked: u64,
}

impl Client {
    /// Connects with Python's `websockets`.
    pub(crate) fn python(python: &Path, broker: &Broker, codec: Codec) -> Self {
        Self::python_with(python, broker, codec, None)
    }

    /// The same, with other parameters of compression than the library's own, or `false` for no offer.
    pub(crate) fn python_with(python: &Path, broker: &Broker, codec: Codec, offer: Option<&Value>) -> Self {
        let mut args = vec![
            test_file("python/client.py"),
            broker.url(),
            codec.as_str().to_owned(),
        ];
        args.extend(offer.map(|offer| json!({ "deflate": offer }).to_string()));
        Self::begin(Script::start(python, &args), codec)
    }

    /// The same over TLS. The client trusts the authorities in the file `ca`.
    pub(crate) fn python_trusting(python: &Path, broker: &Broker, codec: Codec, ca: &str) -> Self {
        let args = [
            test_file("python/client.py"),
            broker.url(),
            codec.as_str().to_owned(),
        ];
        // The variable in which OpenSSL finds the trusted authorities.
        let script = Script::start_with(python, &args, &[("SSL_CERT_FILE", ca)]);
        Self::begin(script, codec)
    }

    /// Connects with Python's `websockets`, with these further headers and subprotocols.
    pub(crate) fn python_showing(
        python: &Path,
        broker: &Broker,
        headers: &Value,
        subprotocols: &Value,
    ) -> Self {
        let args = [
            test_file("python/client.py"),
            broker.url(),
            "json".to_owned(),
            json!({ "headers": headers, "subprotocols": subprotocols }).to_string(),
        ];
        Self::begin(Script::start(python, &args), Codec::Json)
    }

    /// Connects with Node's `ws`, which does not support MessagePack.
    pub(crate) fn node(node: &Path, broker: &Broker) -> Self {
        Self::node_with(node, broker, &json!(true))
    }

    /// The same, with these options for compression.
    pub(crate) fn node_with(node: &Path, broker: &Broker, deflate: &Value) -> Self {
        let args = [test_file("node/client.mjs"), broker.url(), deflate.to_string()];
        Self::begin(Script::start(node, &args), Codec::Json)
    }

    fn begin(mut script: Script, codec: Codec) -> Self {
        let chosen = format!("tickwire.v1.{}", codec.as_str());
        assert_eq!(script.next(), json!({ "open": chosen }));
        let mut client = Self {
            script,
            welcome: Value::Null,
            // Higher than the ids that tests choose.
            asked: 1_000_000,
        };
        client.welcome = client.next();
        assert_eq!(client.welcome["op"], "welcome");
        client
    }

    /// Sends the script one of its commands.
    pub(crate) fn tell(&mut self, command: &Value) {
        self.script.tell(command);
    }

    /// The extensions in the broker's handshake.
    pub(crate) fn extensions(&mut self) -> String {
        self.tell(&json!({ "extensions": true }));
        let event = self.event();
        let extensions = event["extensions"].as_str();
        extensions
            .unwrap_or_else(|| panic!("{event} instead of extensions"))
            .to_owned()
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, message: &Value) {
        self.tell(&json!({ "send": message }));
    }

    /// The next output of the script, whatever it is.
    pub(crate) fn event(&mut self) -> Value {
        self.script.next()
    }

    /// The next message that is not a `synced`, which only some tests are about.
    pub(crate) fn next(&mut self) -> Value {
        loop {
            let event = self.event();
            match event.get("message") {
                Some(message) if message["op"] == "synced" => {}
                Some(message) => return message.clone(),
                None => panic!("{event} instead of a message"),
            }
        }
    }

    /// Sends a request and returns the answer, which must be the next message.
    pub(crate) fn ask(&mut self, request: &Value) -> Value {
        self.send(request);
        self.next()
    }

    /// Sends a request and returns its answer. Data that was on its way before is skipped.
    pub(crate) fn ask_past_data(&mut self, request: &Value) -> Value {
        self.send(request);
        loop {
            let message = self.next();
            if message.get("id").is_some() {
                return message;
            }
        }
    }

    /// Sends `subscribe` and returns the results of its `ack`, which must be the next message.
    pub(crate) fn subscribe(&mut self, id: u64, topics: &Value) -> Vec<Value> {
        let ack = self.ask(&json!({"op": "subscribe", "id": id, "topics": topics}));
        assert_eq!((&ack["op"], &ack["id"]), (&json!("ack"), &json!(id)), "{ack}");
        ack["results"].as_array().expect("an ack has results").clone()
    }

    /// Sends a ping and returns the messages that come before its answer. Data is not complete then, since a pong
    /// overtakes it.
    pub(crate) fn until_pong(&mut self) -> Vec<Value> {
        self.asked += 1;
        self.send(&json!({"op": "ping", "id": self.asked}));
        let mut before = Vec::new();
        loop {
            let message = self.next();
            if message["op"] == "pong" && message["id"] == self.asked {
                return before;
            }
            before.push(message);
        }
    }

    /// The code and reason of the close frame that ends the connection. Messages before it are skipped.
    pub(crate) fn closed(&mut self) -> (u64, String) {
        loop {
            let event = self.event();
            if let Some(closed) = event.get("closed") {
                let code = closed["code"].as_u64().expect("a close has a code");
                return (code, closed["reason"].as_str().unwrap_or_default().to_owned());
            }
            assert!(event.get("message").is_some(), "{event}");
        }
    }

    /// Closes the connection with `code` and waits until the broker has answered.
    pub(crate) fn close(mut self, code: u64) {
        self.tell(&json!({ "close": code }));
        assert_eq!(self.closed().0, code, "the close frame comes back");
        self.script.finish();
    }
}
