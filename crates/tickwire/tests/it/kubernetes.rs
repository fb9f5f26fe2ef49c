//! The manifests for Kubernetes: rendered by kubectl, held against the schemas of Kubernetes and against the broker's own settings, and
//! run as far as that is possible without Kubernetes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use tickwire_server::Config;
use tickwire_server::config::Overrides;

use crate::prometheus::of_the_project;
use crate::support::{Authority, Broker, Container, Script, Socket, Tool, get, open_to_all, poll, test_file};

/// The overlays.
const OVERLAYS: [&str; 2] = ["single", "tls"];
/// The versions of Kubernetes whose schemas the manifests must fit: the oldest with a stable `sleep` of preStop, and the newest.
const VERSIONS: [&str; 2] = ["1.34.1", "1.37.0"];
/// Kinds that are no part of Kubernetes.
const FOREIGN: [&str; 2] = ["Certificate", "ServiceMonitor"];

/// The manifests of an overlay, each held against the schemas, by kind and name.
struct Manifests(BTreeMap<(String, String), Value>);

impl Manifests {
    fn render(python: &Path, overlay: &str) -> Self {
        let folder = of_the_project(&format!("deploy/kubernetes/overlays/{overlay}"));
        let kubectl = python.with_file_name("kubectl");
        let rendered = Command::new(kubectl).args(["kustomize", &folder]).output();
        let rendered = rendered.expect("kubectl starts");
        let said = String::from_utf8_lossy(&rendered.stderr);
        assert!(rendered.status.success() && said.is_empty(), "{said}");
        let mut args = vec![test_file("python/manifests.py")];
        args.extend(VERSIONS.map(str::to_owned));
        let mut script = Script::start(python, &args);
        script.write(&rendered.stdout);
        let lines = script.finish();
        let mut manifests = BTreeMap::new();
        for line in lines.lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let manifest = &line["manifest"];
            let kind = text(&manifest["kind"]);
            assert_eq!(line["known"], !FOREIGN.contains(&kind), "{kind}");
            let key = (kind.to_owned(), text(&manifest["metadata"]["name"]).to_owned());
            assert!(
                manifests.insert(key, manifest.clone()).is_none(),
                "{kind} is there twice"
            );
        }
        Self(manifests)
    }

    fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.0
            .iter()
            .filter(move |((of, _), _)| of == kind)
            .map(|(_, value)| value)
    }

    /// The only manifest of a kind.
    fn only(&self, kind: &str) -> &Value {
        let mut found = self.of_kind(kind);
        let only = found.next().expect(kind);
        assert!(found.next().is_none(), "more than one {kind}");
        only
    }

    fn service(&self, name: &str) -> &Value {
        &self.0[&("Service".to_owned(), name.to_owned())]
    }

    fn pod(&self) -> &Value {
        &self.only("StatefulSet")["spec"]["template"]
    }

    fn container(&self) -> &Value {
        let containers = items(&self.pod()["spec"]["containers"]);
        assert_eq!(containers.len(), 1);
        &containers[0]
    }

    /// The variables of the container.
    fn variables(&self) -> BTreeMap<String, String> {
        let variables = self.container()["env"].as_array().into_iter().flatten();
        variables
            .map(|variable| {
                (
                    text(&variable["name"]).to_owned(),
                    text(&variable["value"]).to_owned(),
                )
            })
            .collect()
    }

    /// The number of the container's port with this name.
    fn port(&self, name: &Value) -> &Value {
        let ports = items(&self.container()["ports"]);
        let port = ports.iter().find(|port| &port["name"] == name);
        &port.unwrap_or_else(|| panic!("no port {name}"))["containerPort"]
    }

    /// The folder of the container that a volume is mounted at.
    fn mount_of(&self, volume: &str) -> &str {
        let mounts = items(&self.container()["volumeMounts"]);
        let mount = mounts.iter().find(|mount| mount["name"] == volume);
        text(&mount.expect("the volume is mounted")["mountPath"])
    }

    /// A folder with the files of the settings, as the volume has them.
    fn settings(&self) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let map = self.only("ConfigMap");
        for (name, text) in map["data"].as_object().expect("files") {
            fs::write(folder.path().join(name), text.as_str().expect("a text"))
                .expect("a file can be written");
        }
        let volumes = items(&self.pod()["spec"]["volumes"]);
        let volume = volumes.iter().find(|volume| volume["name"] == "settings");
        assert_eq!(
            volume.expect("a volume")["configMap"]["name"],
            map["metadata"]["name"]
        );
        folder
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn items(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Whether all `labels` are among those of `of`.
fn selects(labels: &Value, of: &Value) -> bool {
    let labels = labels.as_object().expect("labels");
    !labels.is_empty()
        && labels
            .iter()
            .all(|(name, value)| &of["metadata"]["labels"][name] == value)
}

/// Bytes such as `2Gi`.
fn bytes(value: &Value) -> u64 {
    let gib = text(value).strip_suffix("Gi").expect("a number of GiB");
    gib.parse::<u64>().expect("a number") << 30
}

#[test]
fn the_manifests_fit_kubernetes_and_the_settings() {
    let test = "the_manifests_fit_kubernetes_and_the_settings";
    let Some(python) = Tool::Python.find(test) else {
        return;
    };
    for overlay in OVERLAYS {
        let manifests = Manifests::render(&python, overlay);
        let folder = manifests.settings();
        let file = folder.path().join("tickwire.toml");
        // The files of certificates are not there: only the names of the variables are checked.
        let variables = manifests.variables();
        let files: Vec<&String> = variables.values().collect();
        let here = variables
            .keys()
            .map(|name| (name.clone(), file.display().to_string()));
        let config = Config::load(Some(&file), here, &Overrides::default()).expect("settings");
        if overlay == "tls" {
            let mount = format!("{}/", manifests.mount_of("tls"));
            assert_eq!(files, [&format!("{mount}tls.crt"), &format!("{mount}tls.key")]);
            assert!(config.tls.is_some());
        } else {
            assert!(files.is_empty() && config.tls.is_none());
        }
        the_pod_fits(&manifests, &config);
        what_selects_the_pod_selects_it(&manifests);
        what_watches_the_pod_finds_it(&manifests);
    }
}

/// Compares ports, times, memory and rights of the pod with the settings.
fn the_pod_fits(manifests: &Manifests, config: &Config) {
    assert_eq!(manifests.port(&json!("clients")), config.listen.port());
    assert_eq!(manifests.port(&json!("ops")), config.ops.port());
    assert!(config.listen.ip().is_unspecified() && config.ops.ip().is_unspecified());
    let (pod, container) = (&manifests.pod()["spec"], manifests.container());

    let grace_ms = number(&pod["terminationGracePeriodSeconds"]) * 1_000;
    let before_ms = number(&container["lifecycle"]["preStop"]["sleep"]["seconds"]) * 1_000;
    let drain_ms = config.drain.delay_ms + config.drain.deadline_ms;
    assert!(grace_ms >= before_ms + drain_ms + 5_000, "{grace_ms} ms");

    let resources = &container["resources"];
    let limits = &config.limits;
    let counted = [
        limits.history_bytes,
        limits.value_bytes,
        limits.replay_bytes,
        limits.answer_bytes,
    ];
    let needed = counted.iter().map(|bytes| *bytes as u64).sum::<u64>() / 3 * 4;
    assert!(needed < bytes(&resources["limits"]["memory"]), "{needed} bytes");
    let shards = config.shards.map(|shards| shards.to_string());
    assert_eq!(shards.as_deref(), resources["requests"]["cpu"].as_str());

    let image = text(&container["image"]);
    assert!(
        image.ends_with(concat!(":", env!("CARGO_PKG_VERSION"))),
        "{image}"
    );
    let rights = &container["securityContext"];
    assert_eq!(
        rights,
        &json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}})
    );
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(pod["automountServiceAccountToken"], false);
}

/// Checks that services, policies and budgets mean the broker's pod, and ports that it has.
fn what_selects_the_pod_selects_it(manifests: &Manifests) {
    let pod = manifests.pod();
    let set = &manifests.only("StatefulSet")["spec"];
    assert!(selects(&set["selector"]["matchLabels"], pod));
    manifests.service(text(&set["serviceName"]));
    for service in manifests.of_kind("Service") {
        assert!(selects(&service["spec"]["selector"], pod), "{service}");
        let ports = items(&service["spec"]["ports"]);
        assert_eq!(ports.len(), 1, "{service}");
        let number = manifests.port(&ports[0]["targetPort"]);
        // Outside the cluster, clients use the port of https.
        assert!(&ports[0]["port"] == number || service["spec"]["type"] == "LoadBalancer");
    }
    let budget = &manifests.only("PodDisruptionBudget")["spec"];
    assert!(selects(&budget["selector"]["matchLabels"], pod));
    let policy = &manifests.only("NetworkPolicy")["spec"];
    assert!(selects(&policy["podSelector"]["matchLabels"], pod));
    let doors = items(&policy["ingress"]);
    let open: Vec<(&Value, bool)> = doors
        .iter()
        .map(|door| (&door["ports"][0]["port"], door["from"].is_null()))
        .collect();
    assert_eq!(open, [(&json!("clients"), true), (&json!("ops"), false)]);
    open.iter().for_each(|(port, _)| {
        manifests.port(port);
    });
    assert_eq!(policy["egress"], json!([]));
}

/// Checks that probes and Prometheus ask for pages that the broker has, and that the job has the name that the alerts expect.
fn what_watches_the_pod_finds_it(manifests: &Manifests) {
    let container = manifests.container();
    let monitor = &manifests.only("ServiceMonitor")["spec"];
    let broker = Broker::start(&["--feed", "none"]);
    let probes =
        ["startupProbe", "livenessProbe", "readinessProbe"].map(|probe| &container[probe]["httpGet"]);
    for asked in probes.into_iter().chain(items(&monitor["endpoints"])) {
        assert_eq!(asked["port"], "ops");
        assert_eq!(get(broker.ops, text(&asked["path"])).status, 200, "{asked}");
    }
    broker.stop();
    let watched: Vec<&Value> = manifests
        .of_kind("Service")
        .filter(|service| selects(&monitor["selector"]["matchLabels"], service))
        .collect();
    assert_eq!(watched.len(), 1, "{watched:?}");
    assert_eq!(watched[0]["spec"]["ports"][0]["name"], "ops");
    assert_eq!(
        watched[0]["metadata"]["labels"][text(&monitor["jobLabel"])],
        "tickwire"
    );
    if let Some(certificate) = manifests.of_kind("Certificate").next() {
        let volumes = items(&manifests.pod()["spec"]["volumes"]);
        let volume = volumes.iter().find(|volume| volume["name"] == "tls");
        assert_eq!(
            volume.expect("a volume")["secret"]["secretName"],
            certificate["spec"]["secretName"]
        );
    }
}

#[test]
fn the_container_runs_without_rights_and_without_io_uring() {
    let test = "the_container_runs_without_rights_and_without_io_uring";
    let Some(python) = Tool::Python.find(test) else {
        return;
    };
    if !Container::is_possible(test) {
        return;
    }
    for overlay in OVERLAYS {
        let manifests = Manifests::render(&python, overlay);
        let user = number(&manifests.pod()["spec"]["securityContext"]["runAsUser"]);
        let settings = manifests.settings();
        let authority = Authority::new();
        authority.issue("tls");
        let secret = secret(&authority, u32::try_from(user).expect("a user"));
        let mut folders = json!({ manifests.mount_of("settings"): settings.path() });
        // A temporary folder is its owner's alone.
        open_to_all(settings.path());
        if overlay == "tls" {
            folders[manifests.mount_of("tls")] = json!(secret.path());
        }
        let mut args = items(&manifests.container()["args"]).to_vec();
        // Its own ports may be in use on this machine.
        args.extend(["--listen=127.0.0.1:0", "--ops=127.0.0.1:0"].map(Value::from));
        let container = Container {
            args: json!(args),
            variables: json!(manifests.variables()),
            folders,
            user,
        };
        let broker = container.start(&python);
        let mut client = match overlay {
            "tls" => Socket::secure(&broker, authority.client())
                .expect("a handshake")
                .upgrade(),
            _ => Socket::open(&broker),
        };
        let subscribe = json!({"op": "subscribe", "id": 1, "topics": ["ticker.*"]});
        crate::metrics::send(&mut client, &subscribe);
        poll("a tick arrives", || {
            (client.message()["op"] == "update").then_some(())
        });
        drop(client);
        broker.wait_for_metric("tickwire_connections{transport=\"websocket\"}", |open| {
            open == 0.0
        });
        broker.stop();
    }
}

/// A folder with a certificate and its key as Kubernetes lays a secret: files of a group behind two links, so that all change at once.
fn secret(authority: &Authority, group: u32) -> TempDir {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
    let folder = tempfile::tempdir().expect("a folder");
    open_to_all(folder.path());
    let data = folder.path().join("..2026_11_30");
    fs::create_dir(&data).expect("a folder");
    open_to_all(&data);
    symlink("..2026_11_30", folder.path().join("..data")).expect("a link");
    for (from, name) in [("tls.pem", "tls.crt"), ("tls.key", "tls.key")] {
        let file = data.join(name);
        fs::copy(authority.path(from), &file).expect("a copy");
        chown(&file, Some(0), Some(group)).expect("this is root");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o440)).expect("its own file");
        symlink(format!("..data/{name}"), folder.path().join(name)).expect("a link");
    }
    folder
}
