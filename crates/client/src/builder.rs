//! The settings of a client, and the way from them to a connection.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use tickwire_wire::{Codec, Pattern, Secret};
use tokio::time::timeout;

use crate::backoff::BackoffBounds;
use crate::client::{self, Client, Events};
use crate::core::Core;
use crate::driver::{Address, Driver, Settings, connect_first};
use crate::endpoint::Endpoint;
use crate::error::ConnectError;
use crate::http::{self, Download};
use crate::promise::Checker;
use crate::tls::TlsFiles;
use crate::token::TokenSource;

/// The settings of a [`Client`]. All have defaults.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing before connect"]
pub struct ClientBuilder {
    urls: Vec<String>,
    codec: Codec,
    headers: Vec<(String, String)>,
    tls: TlsFiles,
    token: Option<TokenSource>,
    connect_timeout_ms: u64,
    request_timeout_ms: u64,
    quiet_margin_ms: u64,
    events_max: usize,
    message_bytes_max: usize,
    backoff: BackoffBounds,
    report_broken: bool,
    verify_books: Option<Pattern>,
}

impl ClientBuilder {
    pub(crate) fn new(url: impl Into<String>) -> Self {
        Self {
            urls: vec![url.into()],
            codec: Codec::default(),
            headers: Vec::new(),
            tls: TlsFiles::default(),
            token: None,
            connect_timeout_ms: 5_000,
            request_timeout_ms: 10_000,
            quiet_margin_ms: 5_000,
            events_max: 1_024,
            message_bytes_max: 16 * 1024 * 1024,
            backoff: BackoffBounds::default(),
            report_broken: true,
            verify_books: None,
        }
    }

    /// Adds the URL of another node of the same cluster. The client connects to a random node. When it loses its node, it
    /// goes on to another one at once, and waits only after each was tried. A node that failed is tried last. A URL that is named twice counts once. Requests over HTTP, such as [`Self::get`], ask the nodes in the order of
    /// their URLs.
    pub fn or_url(mut self, url: impl Into<String>) -> Self {
        self.urls.push(url.into());
        self
    }

    /// The codec of requests and messages. Default: JSON.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Adds a header to the handshake's request, in place of one of the same name. Connecting fails if it is not valid.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// On `wss://`, trusts only the authorities whose certificates are in this PEM file. Default: those that the system
    /// trusts.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.ca = Some(path.into());
        self
    }

    /// On `wss://`, shows the certificates in `cert_file` to a broker that asks for them. Their key is in `key_file`.
    /// Both are PEM files.
    pub fn client_certificate(mut self, cert_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Self {
        self.tls.identity = Some((cert_file.into(), key_file.into()));
        self
    }

    /// The token that each handshake shows. A token accepted by [`Client::auth`] replaces it.
    pub fn token(mut self, token: impl Into<Secret>) -> Self {
        self.token = Some(TokenSource::Text(token.into()));
        self
    }

    /// The file with the token that each handshake shows. It is read again for each handshake, so another program may
    /// renew it.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token = Some(TokenSource::File(path.into()));
        self
    }

    /// The longest time that connecting may take, up to the welcome, in milliseconds. Default: 5,000.
    pub fn connect_timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.connect_timeout_ms = timeout_ms;
        self
    }

    /// The longest time that a request may take, including the wait for a connection, in milliseconds. Default: 10,000.
    pub fn request_timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.request_timeout_ms = timeout_ms;
        self
    }

    /// How long a broker may be silent beyond two heartbeats before it counts as dead, in milliseconds. Default: 5,000.
    pub fn quiet_margin_ms(mut self, margin_ms: u64) -> Self {
        self.quiet_margin_ms = margin_ms;
        self
    }

    /// Most events that wait for the program. When there are as many, the client stops reading. Default: 1,024; at
    /// least 1.
    pub fn events_max(mut self, events_max: usize) -> Self {
        self.events_max = events_max;
        self
    }

    /// The longest message that the client takes from the broker, in bytes. Default: 16 MiB.
    pub fn message_bytes_max(mut self, message_bytes_max: usize) -> Self {
        self.message_bytes_max = message_bytes_max;
        self
    }

    /// The bounds of the waits between attempts to connect. Default: ceilings from 250 ms to 15 s.
    pub fn backoff(mut self, bounds: BackoffBounds) -> Self {
        self.backoff = bounds;
        self
    }

    /// Whether broken promises are reported as [`Event::Broken`](crate::Event::Broken). Default: yes.
    pub fn report_broken_promises(mut self, report: bool) -> Self {
        self.report_broken = report;
        self
    }

    /// Also rebuilds the books of the topics that match `pattern` and verifies each checksum. Default: no books.
    pub fn verify_books(mut self, pattern: Pattern) -> Self {
        self.verify_books = Some(pattern);
        self
    }

    /// The names of topics that match `pattern`, over HTTP: one page of the broker's listing.
    ///
    /// # Errors
    /// When the broker cannot be reached, refuses, or does not answer within the time for connecting. It refuses to
    /// list what the client may not subscribe to.
    pub async fn topics(&self, pattern: &Pattern) -> Result<Vec<String>, ConnectError> {
        let target = http::listing_target(pattern);
        let (endpoint, body) = self.ask(Method::GET, &target, Bytes::new()).await?;
        http::names(&endpoint, &body)
    }

    /// The body of the answer to a GET of `target`, a path with an optional query, on a connection of its own. At most 8 MiB.
    ///
    /// # Errors
    /// When the broker cannot be reached, refuses, or does not answer within the time for connecting.
    pub async fn get(&self, target: &str) -> Result<Vec<u8>, ConnectError> {
        self.ask(Method::GET, target, Bytes::new()).await.map(body)
    }

    /// The body of the answer to a DELETE of `target`, as [`Self::get`] asks for it. It ends a topic.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn delete(&self, target: &str) -> Result<Vec<u8>, ConnectError> {
        self.ask(Method::DELETE, target, Bytes::new()).await.map(body)
    }

    /// The body of the answer to a POST of `json` to `target`, as [`Self::get`] asks for it.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post(&self, target: &str, json: impl Into<Bytes>) -> Result<Vec<u8>, ConnectError> {
        self.ask(Method::POST, target, json.into()).await.map(body)
    }

    /// The answer to a GET of `target`, of any length, to be taken chunk by chunk.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn download(&self, target: &str) -> Result<Download, ConnectError> {
        let settings = self.settings()?;
        let headers = settings.headers().await?;
        let after_ms = settings.connect_timeout_ms;
        let ask = |Address { endpoint, tls }| {
            let headers = &headers;
            async move { http::download(&endpoint, tls.as_ref(), headers, target, after_ms).await }
        };
        let (_, answer) = asked(&settings, &Method::GET, ask).await?;
        Ok(answer)
    }

    /// The body of an answer, and who gave it.
    async fn ask(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<(Endpoint, Vec<u8>), ConnectError> {
        let settings = self.settings()?;
        let headers = settings.headers().await?;
        let ask = |Address { endpoint, tls }| {
            let (headers, request) = (&headers, (method.clone(), target, body.clone()));
            async move { http::ask(&endpoint, tls.as_ref(), headers, request).await }
        };
        asked(&settings, &method, ask).await
    }

    fn settings(&self) -> Result<Settings, ConnectError> {
        let mut addresses: Vec<Address> = Vec::new();
        for url in &self.urls {
            let address = Address::of(url, &self.tls)?;
            if addresses.iter().all(|known| known.endpoint != address.endpoint) {
                addresses.push(address);
            }
        }
        Ok(Settings {
            addresses,
            codec: self.codec,
            token: self.token.clone(),
            headers: self.headers.iter().map(header).collect::<Result<_, _>>()?,
            connect_timeout_ms: self.connect_timeout_ms,
            quiet_margin_ms: self.quiet_margin_ms,
            message_bytes_max: self.message_bytes_max,
            backoff: self.backoff,
        })
    }

    /// Connects and waits for the welcome. From then on the client reconnects by itself. Needs a tokio runtime with I/O
    /// and time.
    ///
    /// # Errors
    /// When the first connection fails, at each of the URLs. The error is that of the last one. The client does not try it
    /// again.
    pub async fn connect(self) -> Result<(Client, Events), ConnectError> {
        let settings = self.settings()?;
        let mut nodes = settings.nodes();
        let first = connect_first(&settings, &mut nodes).await?;
        let request_timeout = Duration::from_millis(self.request_timeout_ms);
        let (client, events, user) = client::handles(self.events_max, request_timeout);
        let checker = match self.verify_books {
            Some(pattern) => Checker::new().verify_books(pattern),
            None => Checker::new(),
        };
        let driver = Driver {
            core: Core::new(settings.codec, checker, self.report_broken),
            settings,
            nodes,
            user,
        };
        tokio::spawn(driver.run(first));
        Ok((client, events))
    }
}

fn header((name, value): &(String, String)) -> Result<(HeaderName, HeaderValue), ConnectError> {
    let parsed = name
        .parse::<HeaderName>()
        .ok()
        .zip(value.parse::<HeaderValue>().ok());
    parsed.ok_or_else(|| ConnectError::BadHeader { name: name.clone() })
}

/// Asks the nodes in the order of their URLs until one answers, so that requests that belong together reach the same node.
/// Each has the time for connecting. Only a request of which no node has seen a byte is repeated, unless it is a GET, which
/// changes nothing.
async fn asked<T, Answer: Future<Output = Result<T, ConnectError>>>(
    settings: &Settings,
    method: &Method,
    ask: impl Fn(Address) -> Answer,
) -> Result<(Endpoint, T), ConnectError> {
    let after_ms = settings.connect_timeout_ms;
    let mut addresses = settings.addresses.iter().peekable();
    loop {
        let address = addresses.next().expect("a builder begins with one URL");
        let answer = timeout(Duration::from_millis(after_ms), ask(address.clone())).await;
        let error = match answer {
            Ok(Ok(answer)) => return Ok((address.endpoint.clone(), answer)),
            Ok(Err(error)) => error,
            Err(_) => ConnectError::TimedOut {
                endpoint: address.endpoint.to_string(),
                after_ms,
            },
        };
        let is_unseen = matches!(
            error,
            ConnectError::Unreachable { .. } | ConnectError::TlsFailed { .. }
        );
        let may_repeat = is_unseen || (method == Method::GET && error.is_retryable());
        if !may_repeat || addresses.peek().is_none() {
            return Err(error);
        }
    }
}

/// The body of an answer, whoever gave it.
fn body((_, body): (Endpoint, Vec<u8>)) -> Vec<u8> {
    body
}
