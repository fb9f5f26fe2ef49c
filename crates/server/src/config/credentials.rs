//! Credentials from the service manager: files whose names begin with `$CREDENTIALS_DIRECTORY/` (systemd.exec(5),
//! "Credentials").
//!
//! Only the path is made here. Whether the file exists is found out when it is read.

use std::path::PathBuf;

/// The variable with the folder of the credentials. Names of credentials begin with it.
const VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// The folder of the credentials, if there is one.
#[derive(Debug, Default)]
pub(super) struct Credentials(Option<PathBuf>);

impl Credentials {
    /// The credentials that `environment` names.
    pub(super) fn of(environment: &[(String, String)]) -> Self {
        let told = environment.iter().find(|(name, _)| name == VARIABLE);
        Self(told.map(|(_, folder)| PathBuf::from(folder)))
    }

    /// The path of the file that a setting calls `name`.
    ///
    /// # Errors
    /// If it is a credential and there is no folder of credentials.
    pub(super) fn file(&self, name: &str) -> Result<PathBuf, String> {
        let credential = name
            .strip_prefix('$')
            .and_then(|rest| rest.strip_prefix(VARIABLE)?.strip_prefix('/'));
        match (credential, &self.0) {
            (None, _) => Ok(PathBuf::from(name)),
            (Some(credential), Some(folder)) => Ok(folder.join(credential)),
            (Some(_), None) => Err(format!(
                "is a credential, but {VARIABLE} is not set: systemd sets it for a unit with LoadCredential="
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigError, Overrides};

    /// Loads a configuration file with the content `text`, and with credentials in `folder` if that is given.
    fn load(text: &str, folder: Option<&str>) -> Result<Config, ConfigError> {
        let temporary = tempfile::tempdir().expect("a folder");
        let file = temporary.path().join("x.toml");
        std::fs::write(&file, text).expect("a file");
        let told = folder.map(|folder| (VARIABLE.to_owned(), folder.to_owned()));
        Config::load(Some(&file), told, &Overrides::default())
    }

    const TLS: &str = "[tls]\ncert_file = \"$CREDENTIALS_DIRECTORY/cert.pem\"\nkey_file = \"/etc/$CREDENTIALS_DIRECTORY/key.pem\"\n";

    #[test]
    fn a_credential_is_a_file_of_the_folder_that_the_environment_names() {
        let tls = load(TLS, Some("/run/credentials/x")).expect("valid").tls;
        let tls = tls.expect("it is set");
        assert_eq!(tls.cert_file.to_str(), Some("/run/credentials/x/cert.pem"));
        assert_eq!(
            tls.key_file.to_str(),
            Some("/etc/$CREDENTIALS_DIRECTORY/key.pem"),
            "no credential"
        );
        for field in [
            "secret_file = \"$CREDENTIALS_DIRECTORY/secret\"",
            "jwks_file = \"$CREDENTIALS_DIRECTORY/secret\"",
            "public_key_files = [\"$CREDENTIALS_DIRECTORY/secret\"]",
        ] {
            let text = format!("[auth.jwt]\nalgorithms = [\"HS256\"]\n{field}\n");
            let jwt = load(&text, Some("/run/credentials/x")).expect("valid").auth.jwt;
            let jwt = jwt.expect("it is set");
            let named = jwt
                .secret_file
                .iter()
                .chain(&jwt.public_key_files)
                .chain(&jwt.jwks_file);
            let named: Vec<_> = named.map(|file| file.to_str()).collect();
            assert_eq!(named, [Some("/run/credentials/x/secret")], "{field}");
            let error = load(&text, None).expect_err(field).to_string();
            assert!(
                error.contains("is a credential, but CREDENTIALS_DIRECTORY is not set"),
                "{error}"
            );
        }
        let error = load(TLS, None).expect_err("none are there").to_string();
        assert!(
            error.starts_with("tls.cert_file = \"$CREDENTIALS_DIRECTORY/cert.pem\" (from file "),
            "{error}"
        );
    }
}
