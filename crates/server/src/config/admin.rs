//! The keys of `[admin]`, which operators show to the admin API.
//!
//! It holds no secret, only the hashes of keys, as `[auth]` does.

use std::collections::HashSet;

use super::error::ConfigError;
use super::fields::Form;
use super::key::{Setting, Shape};
use super::key_hash::KeyHash;
use super::settings::Settings;
use super::table::Config;

/// The path of the list.
const PATH: &str = "admin.keys";
/// Longest name of a key, in bytes.
const NAME_BYTES_MAX: usize = 64;
const KEY: Form = Form {
    known: &["name", "sha256"],
    list: "must be a list of tables, each headed [[admin.keys]]",
    entry: None,
    hidden: Some("sha256"),
};

/// An entry of `admin.keys`.
#[derive(Debug, Clone, PartialEq)]
pub struct AdminKey {
    /// The name of the operator in audit lines.
    pub name: String,
    /// The hash of the key.
    pub hash: KeyHash,
}

impl Setting for Vec<AdminKey> {
    const SHAPE: Shape = Shape::Tables("list of tables", "`name` and `sha256`");

    fn read(settings: &Settings, path: &'static str) -> Result<Self, ConfigError> {
        let (mut names, mut hashes) = (HashSet::new(), HashSet::new());
        KEY.list(settings, path, |fields, _| {
            let rule = "must be a text of at most 64 bytes by which audit lines call the operator";
            let name = fields.needed("name", rule)?.to_owned();
            if name.len() > NAME_BYTES_MAX {
                return Err(fields.refuse("name", rule));
            }
            let rule =
                "must be the 64 hexadecimal digits that tickwire hash-key prints, never the key itself";
            let hash = KeyHash::parse(fields.needed("sha256", rule)?);
            let hash = hash.ok_or_else(|| fields.refuse("sha256", rule))?;
            if !names.insert(name.clone()) {
                return Err(fields.refuse("name", "is the name of an earlier key as well"));
            }
            if !hashes.insert(hash) {
                return Err(fields.refuse("sha256", "is the hash of an earlier key as well"));
            }
            Ok(AdminKey { name, hash })
        })
    }
}

/// Refuses a key that clients have too: who may subscribe would also be an operator.
pub(super) fn operators_are_no_clients(config: &Config, settings: &Settings) -> Result<(), ConfigError> {
    let clients: HashSet<KeyHash> = config.auth.keys.iter().map(|key| key.hash).collect();
    match config.admin.keys.iter().find(|key| clients.contains(&key.hash)) {
        None => Ok(()),
        Some(key) => {
            let rule = format!(
                "has the key {:?}, which is among auth.keys too: make one of its own",
                key.name
            );
            Err(settings.refuse_unseen(PATH, rule))
        }
    }
}
