//! A WebSocket client of another project, told what to do line by line.
//!
//! The library does handshake, masking, ping and close as it does for its users; the scripts around it only pass on. They
//! speak the same few commands, so a test can be run with each of them.

use std::path::Path;

use serde_json::{Value, json};

use super::{Broker, Script, test_file};

/// How the messages of a connection are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Json,
    Msgpack,
}

impl Codec {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Json, Self::Msgpack];

    /// Its name as the subprotocols have it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Msgpack => "msgpack",
        }
    }
}

/// A connection. Messages are handed over as JSON whatever the codec, the arrays of MessagePack as the maps that they
/// stand for.
#[derive(Debug)]
pub(crate) struct Client {
    script: Script,
    /// The broker's first message.
    pub(crate) welcome: Value,
    asked: u64,
}

impl Client {
    /// A connection of Python's `websockets`.
    pub(crate) fn python(python: &Path, broker: &Broker, codec: Codec) -> Self {
        Self::python_with(python, broker, codec, None)
    }

    /// The same with another offer of compression than the library's own: its parameters, or `false` for none.
    pub(crate) fn python_with(python: &Path, broker: &Broker, codec: Codec, offer: Option<&Value>) -> Self {
        let mut args = vec![
            test_file("python/client.py"),
            broker.url(),
            codec.as_str().to_owned(),
        ];
        args.extend(offer.map(|offer| json!({ "deflate": offer }).to_string()));
        Self::begin(Script::start(python, &args), codec)
    }

    /// The same, over TLS: it trusts those whose certificates are in the file `ca`.
    pub(crate) fn python_trusting(python: &Path, broker: &Broker, codec: Codec, ca: &str) -> Self {
        let args = [
            test_file("python/client.py"),
            broker.url(),
            codec.as_str().to_owned(),
        ];
        // OpenSSL's variable for whom to trust.
        let script = Script::start_with(python, &args, &[("SSL_CERT_FILE", ca)]);
        Self::begin(script, codec)
    }

    /// A connection of Python's `websockets` with these further headers and subprotocols.
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

    /// A connection of Node's `ws`, which has no MessagePack.
    pub(crate) fn node(node: &Path, broker: &Broker) -> Self {
        Self::node_with(node, broker, &json!(true))
    }

    /// The same with these options of compression.
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
            // Above the ids that tests choose.
            asked: 1_000_000,
        };
        client.welcome = client.next();
        assert_eq!(client.welcome["op"], "welcome");
        client
    }

    /// Gives the script a command of its own.
    pub(crate) fn tell(&mut self, command: &Value) {
        self.script.tell(command);
    }

    /// What the broker's handshake said of extensions.
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

    /// What the script says next, whatever it is.
    pub(crate) fn event(&mut self) -> Value {
        self.script.next()
    }

    /// The next message, but for the end of a request, which tests of something else do not count.
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

    /// Sends a request and returns the answer; data that was on its way before is passed over.
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

    /// Everything that comes before the answer to a ping which is sent now: what the broker had to say until then, but
    /// for data, which a ping overtakes.
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

    /// The code and reason of the close frame that ends the connection; messages before it are passed over.
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
