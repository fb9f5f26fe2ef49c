//! Plays the steps of one case.

use std::collections::HashMap;

use serde_json::{Value, json};
use tickwire_wire::Codec;

use super::broker::{Broker, packed};
use super::cases::Case;
use super::event::EXACT_MAX;
use super::matching::matches;
use super::program::Program;

/// One case with its two roles.
struct Play {
    broker: Broker,
    program: Program,
    /// The ids of requests by the names under which steps have kept them.
    ids: HashMap<String, Vec<Value>>,
}

/// Plays `case` in `codec`.
///
/// # Errors
/// The step at which the client did something else, and what it did.
pub(super) async fn play(case: &Case, codec: Codec) -> Result<(), String> {
    let broker = Broker::start(codec, case.client.urls.unwrap_or(1)).await;
    let program = Program::start(&broker.urls(), codec, &case.client);
    let mut play = Play {
        broker,
        program,
        ids: HashMap::new(),
    };
    for (number, step) in case.steps.iter().enumerate() {
        let taken = play.step(step).await;
        taken.map_err(|error| format!("step {number}, {step}: {error}"))?;
    }
    play.end().await.map_err(|error| format!("at the end: {error}"))
}

impl Play {
    async fn step(&mut self, step: &Value) -> Result<(), String> {
        let name = step["as"].as_str();
        if step.get("do").is_some() {
            return self.program.act(step).await;
        }
        if let Some(name) = step["answer"].as_str() {
            return self.answer(name, step).await;
        }
        let (kind, what) = step
            .as_object()
            .and_then(|step| step.iter().next())
            .ok_or("an empty step")?;
        match kind.as_str() {
            "dial" => self.broker.dial(what).await,
            "welcome" => self.broker.say(&welcome(what)).await,
            "expect" => self.expect(what, name).await,
            "grant" => self.grant(what, name).await,
            "synced" => self.synced(what).await,
            "say" => {
                let message = self.message(what)?;
                self.broker.say(&message).await
            }
            "say_text" => {
                self.broker
                    .connection()?
                    .text(what.as_str().unwrap_or_default())
                    .await
            }
            "say_hex" => self.broker.connection()?.binary(&hex(what)?).await,
            "say_msgpack" => self.broker.connection()?.binary(&packed(what)).await,
            "raw" => self.broker.connection()?.raw(&hex(what)?).await,
            "close" => {
                let code = what.as_u64().and_then(|code| u16::try_from(code).ok());
                let reason = step["reason"].as_str().unwrap_or_default();
                let connection = self.broker.connection()?;
                connection.close(code, reason).await?;
                self.ended().await
            }
            "cut" => {
                self.broker.connection = None;
                Ok(())
            }
            "expect_end" => self.ended().await,
            "report" if step["order"] == "any" => self.report_in_any_order(what).await,
            "report" => self.report(what).await,
            "settle" => self.settle().await,
            "book" => self.program.check_book(what),
            other => Err(format!("{other} is no step")),
        }
    }

    async fn ended(&mut self) -> Result<(), String> {
        self.broker.connection()?.ended().await?;
        self.broker.connection = None;
        Ok(())
    }

    async fn expect(&mut self, expected: &Value, name: Option<&str>) -> Result<(), String> {
        let heard = normal(self.broker.connection()?.hear().await?);
        if !matches(expected, Some(&heard)) {
            return Err(format!("the client sent {heard}"));
        }
        if let Some(name) = name {
            self.ids.insert(name.to_owned(), vec![heard["id"].clone()]);
        }
        Ok(())
    }

    /// Acks requests until each entry of `wanted` was asked for.
    async fn grant(&mut self, wanted: &Value, name: Option<&str>) -> Result<(), String> {
        let mut wanted: Vec<Value> = wanted.as_array().cloned().unwrap_or_default();
        let (mut ahead, mut ids) = (Vec::new(), Vec::new());
        while !wanted.is_empty() {
            let request = normal(self.broker.connection()?.hear().await?);
            let id = request["id"].clone();
            if request["op"] == "positions" {
                ahead.extend(lineages(&request["since"]));
                self.broker
                    .say(&json!({"op": "ack", "id": id, "results": []}))
                    .await?;
                continue;
            }
            if request["op"] != "subscribe" {
                return Err(format!("the client sent {request}"));
            }
            let mut results = Vec::new();
            for entry in request["topics"].as_array().into_iter().flatten() {
                let asked = asked(&request, entry, &ahead);
                let granted = wanted
                    .iter()
                    .position(|wanted| matches(&without_result(wanted), Some(&asked)));
                let granted = granted.ok_or_else(|| format!("the client asks for {asked}"))?;
                let mut result = wanted.remove(granted)["result"].take();
                result["topic"] = entry["topic"].clone();
                results.push(result);
            }
            ahead.clear();
            self.broker
                .say(&json!({"op": "ack", "id": id, "results": results}))
                .await?;
            ids.push(id);
        }
        if let Some(name) = name {
            self.ids.insert(name.to_owned(), ids);
        }
        Ok(())
    }

    async fn synced(&mut self, name: &Value) -> Result<(), String> {
        let name = name.as_str().unwrap_or_default();
        let ids = self
            .ids
            .get(name)
            .cloned()
            .ok_or_else(|| format!("nothing is kept as {name}"))?;
        for id in ids {
            self.broker.say(&json!({"op": "synced", "id": id})).await?;
        }
        Ok(())
    }

    async fn answer(&mut self, name: &str, step: &Value) -> Result<(), String> {
        let answer = self.program.answer(name).await?;
        let is_right = match (&answer, step.get("ok"), step.get("error")) {
            (Ok(answer), Some(ok), None) => matches(ok, Some(answer)),
            (Err(failure), None, Some(error)) => matches(error, Some(failure)),
            _ => false,
        };
        is_right
            .then_some(())
            .ok_or_else(|| format!("the answer is {answer:?}"))
    }

    async fn report(&mut self, expected: &Value) -> Result<(), String> {
        for expected in expected.as_array().into_iter().flatten() {
            let event = self.program.next_event().await?;
            if !matches(expected, Some(&event)) {
                return Err(format!("the client reported {event} where {expected} was due"));
            }
        }
        Ok(())
    }

    async fn report_in_any_order(&mut self, expected: &Value) -> Result<(), String> {
        let mut expected = expected.as_array().cloned().unwrap_or_default();
        while !expected.is_empty() {
            let event = self.program.next_event().await?;
            let found = expected
                .iter()
                .position(|expected| matches(expected, Some(&event)));
            let found = found.ok_or_else(|| format!("the client reported {event}, which no step names"))?;
            expected.remove(found);
        }
        Ok(())
    }

    /// Waits until the client has handled everything that was said.
    async fn settle(&mut self) -> Result<(), String> {
        self.program.act(&json!({"do": "ping", "as": "settle"})).await?;
        let heard = self.broker.connection()?.hear().await?;
        if heard["op"] != "ping" {
            return Err(format!("the client sent {heard}, which no step expects"));
        }
        let pong = json!({"op": "pong", "id": heard["id"], "ts": 3, "received": 2});
        self.broker.say(&pong).await?;
        self.program.take_until_pong(&heard["id"]).await?;
        match self.program.unnamed().front() {
            Some(event) => Err(format!("the client reported {event}, which no step names")),
            None => Ok(()),
        }
    }

    /// Checks that nothing is left, and closes the client.
    async fn end(&mut self) -> Result<(), String> {
        if self
            .broker
            .connection
            .as_ref()
            .is_some_and(|connection| connection.welcomed)
            && !self.program.is_closed()
        {
            self.settle().await?;
        }
        if let Some(event) = self.program.unnamed().front() {
            return Err(format!("the client reported {event}, which no step names"));
        }
        self.program.close().await?;
        while !self.program.is_closed() {
            let event = self.program.next_event().await?;
            if event["event"] != "closed" {
                return Err(format!("the client reported {event} after its end"));
            }
        }
        if let Some(connection) = &mut self.broker.connection {
            connection.ended().await?;
        }
        if self.broker.has_caller().await {
            return Err("the client dialled again, and no step says so".to_owned());
        }
        Ok(())
    }

    /// `message` with the id in place of its name, and with its long text.
    fn message(&self, message: &Value) -> Result<Value, String> {
        let mut message = message.clone();
        if let (Some(text), Some(times)) = (
            message["data"]["repeat"].as_str(),
            message["data"]["times"].as_u64(),
        ) {
            message["data"] = json!(text.repeat(usize::try_from(times).map_err(|error| error.to_string())?));
        }
        if let Some(name) = message["id"].as_str().and_then(|id| id.strip_prefix('$')) {
            let id = self.ids.get(name).and_then(|ids| ids.first());
            let id = id.ok_or_else(|| format!("nothing is kept as {name}"))?;
            message["id"] = id.clone();
        }
        Ok(message)
    }
}

/// The default welcome with the fields of `changes`.
fn welcome(changes: &Value) -> Value {
    let mut welcome = json!({"op": "welcome", "session": "s", "server": "tickwire/test", "ts": 1,
        "heartbeat_ms": 15_000, "limits": {"subscriptions": 1_024, "message_bytes": 65_536, "ops_per_s": 1_000,
        "ops_burst": 1_000, "publishes_per_s": 1_000, "publishes_burst": 1_000}});
    for (name, change) in changes.as_object().into_iter().flatten() {
        match change.as_object().filter(|_| name == "limits") {
            Some(limits) => limits
                .iter()
                .for_each(|(limit, value)| welcome["limits"][limit] = value.clone()),
            None => welcome[name] = change.clone(),
        }
    }
    welcome
}

/// A request in the form in which cases write it.
fn normal(mut request: Value) -> Value {
    write_large_numbers_as_digits(&mut request);
    if request["op"] != "subscribe" {
        return request;
    }
    for entry in request["topics"].as_array_mut().into_iter().flatten() {
        if entry.is_string() {
            *entry = json!({"topic": entry});
        }
        if entry["since"].get("seqs").is_some() || entry["since"].is_array() {
            entry["since"] = Value::Array(lineages(&entry["since"]));
        }
    }
    if request.get("snapshot").is_none() {
        request["snapshot"] = json!(true);
    }
    request
}

/// Makes texts of the numbers that not every language can compare.
fn write_large_numbers_as_digits(value: &mut Value) {
    match value {
        Value::Number(number) if number.as_u64().is_some_and(|number| number > EXACT_MAX) => {
            *value = json!(number.to_string());
        }
        Value::Array(values) => values.iter_mut().for_each(write_large_numbers_as_digits),
        Value::Object(fields) => fields
            .iter_mut()
            .for_each(|(_, value)| write_large_numbers_as_digits(value)),
        _ => {}
    }
}

/// The positions of a pattern as an array, ordered by epoch.
fn lineages(since: &Value) -> Vec<Value> {
    let mut lineages = match since {
        Value::Array(lineages) => lineages.clone(),
        one => vec![one.clone()],
    };
    lineages.sort_by(|a, b| a["epoch"].as_str().cmp(&b["epoch"].as_str()));
    lineages
}

/// What a request asks for an entry, with the positions that went ahead of it.
fn asked(request: &Value, entry: &Value, ahead: &[Value]) -> Value {
    let mut asked = request.clone();
    let fields = asked.as_object_mut().expect("a request is an object");
    for name in ["op", "id", "topics"] {
        fields.remove(name);
    }
    fields.insert("topic".to_owned(), entry["topic"].clone());
    let mut since = entry["since"].clone();
    if !ahead.is_empty() && since.is_null() {
        since = Value::Array(merged(ahead));
    }
    fields.insert("since".to_owned(), since);
    asked
}

/// Positions of several messages, with one element for each epoch.
fn merged(ahead: &[Value]) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::new();
    for lineage in ahead {
        match merged.iter_mut().find(|one| one["epoch"] == lineage["epoch"]) {
            Some(one) => {
                for (topic, seq) in lineage["seqs"].as_object().into_iter().flatten() {
                    one["seqs"][topic] = seq.clone();
                }
            }
            None => merged.push(lineage.clone()),
        }
    }
    lineages(&Value::Array(merged))
}

fn without_result(wanted: &Value) -> Value {
    let mut wanted = wanted.clone();
    if let Some(fields) = wanted.as_object_mut() {
        fields.remove("result");
    }
    wanted
}

/// The bytes of a text of hexadecimal digits, with spaces between some of them.
fn hex(text: &Value) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = text
        .as_str()
        .unwrap_or_default()
        .bytes()
        .filter(|byte| *byte != b' ')
        .collect();
    let pairs = digits.chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).map_err(|error| error.to_string())?;
        u8::from_str_radix(pair, 16).map_err(|error| error.to_string())
    });
    pairs.collect()
}
