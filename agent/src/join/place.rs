//! The folders that a host joins into: what is there, and what is written, each file whole or not at all.
//!
//! Order: trust, identity, configuration, and last the key that waited is removed. Cut short between two, the key is still
//! there and the same command does it all again.

use super::step::Step;
use super::{JoinError, JoinOptions};
use crate::config::AgentConfig;
use crate::credentials::CredentialFiles;
use crate::fleet_settings;
use crate::settings::{compartment_names, link_name};
use dsmil_crypto::identity::Identity;
use dsmil_crypto::key::SigningKey;
use dsmil_crypto::trust::Trust;
use dsmil_protocol::ids::HostName;
use dsmil_protocol::join::HostSettings;
use dsmil_runtime::owner;
use serde::Serialize;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where the new key waits until everything is written.
const WAITING_KEY: &str = "agent.key.joining";

/// Where a host joins.
pub(super) struct Place {
    dir: PathBuf,
    config_path: PathBuf,
    config: Option<AgentConfig>,
    credentials: CredentialFiles,
    waiting_key: PathBuf,
}

/// The files of an identity in a folder.
fn credential_files(folder: &Path) -> CredentialFiles {
    CredentialFiles { identity: folder.join("agent.pem"), trust: folder.join("trust.bundle") }
}

impl Place {
    /// Looks at the folders, and makes them if they are not there. Refuses what would overwrite somebody else.
    pub(super) fn find(options: &JoinOptions, host: &HostName) -> Result<Self, JoinError> {
        let JoinOptions { dir, state, again, .. } = options;
        for folder in [dir, state] {
            std::fs::create_dir_all(folder).map_err(file(folder))?;
        }
        let config_path = dir.join("agent.toml");
        let config = match config_path.try_exists().map_err(file(&config_path))? {
            true => Some(AgentConfig::load(&config_path).map_err(JoinError::Config)?),
            false => None,
        };
        if let Some(other) = config.as_ref().map(|config| &config.host).filter(|configured| *configured != host) {
            let (configured, token) = (other.clone(), host.clone());
            return Err(JoinError::OtherHost { path: config_path, configured, token });
        }
        let credentials = config.as_ref().map_or_else(|| credential_files(state), AgentConfig::credential_files);
        // Beside the key that it becomes: on the same disk, under the same owner.
        let waiting_key = credentials.identity.parent().unwrap_or(state).join(WAITING_KEY);
        let exists = |path: &Path| path.try_exists().map_err(file(path));
        // Where the key still waits, an attempt was cut short: this one goes on with it.
        if !*again && exists(&credentials.identity)? && !exists(&waiting_key)? {
            return Err(JoinError::Joined(credentials.identity));
        }
        Ok(Self { dir: dir.clone(), config_path, config, credentials, waiting_key })
    }

    /// The key that waits here from an attempt that was cut short, or a new one. On disk before anybody hears of it, which
    /// also shows that the folder can be written before the token is used up.
    pub(super) fn key(&self) -> Result<SigningKey, JoinError> {
        if let Ok(key) = SigningKey::load(&self.waiting_key) {
            return Ok(key);
        }
        let key = SigningKey::generate()?;
        key.save(&self.waiting_key)?;
        give_to_owner(&self.waiting_key)?;
        Ok(key)
    }

    /// The text of agent.toml, if there is none yet. Read back before it is written: what an agent could not start with is
    /// named here.
    pub(super) fn configuration(&self, settings: &HostSettings) -> Result<Option<String>, JoinError> {
        if self.config.is_some() {
            return Ok(None);
        }
        let elsewhere = (self.credentials != credential_files(&self.dir)).then_some(&self.credentials);
        let text = text_of(settings, elsewhere)?;
        let read = AgentConfig::parse(&text, &self.config_path).map_err(JoinError::Config)?;
        let says_it = read.host_settings() == *settings;
        if says_it { Ok(Some(text)) } else { Err(JoinError::Answer("has settings that agent.toml cannot say")) }
    }

    /// Writes everything. The settings of an agent.toml that was there are returned; it stays as it is.
    pub(super) fn write(
        &self,
        identity: &Identity,
        trust: &Trust,
        text: Option<&str>,
        say: &mut dyn FnMut(Step),
    ) -> Result<Option<HostSettings>, JoinError> {
        let mut written = |path: &Path| -> Result<(), JoinError> {
            give_to_owner(path)?;
            say(Step::Written(path.to_owned()));
            Ok(())
        };
        self.forget_settings()?;
        trust.save(&self.credentials.trust)?;
        written(&self.credentials.trust)?;
        identity.save(&self.credentials.identity)?;
        written(&self.credentials.identity)?;
        if let Some(text) = text {
            self.write_config(text).map_err(file(&self.config_path))?;
            written(&self.config_path)?;
        } else {
            say(Step::Kept(self.config_path.clone()));
        }
        Ok(self.config.as_ref().map(AgentConfig::host_settings))
    }

    /// Settings of the fleet that it was in before: they are none of this one's, and their versions would stand in the way of
    /// those that come.
    fn forget_settings(&self) -> Result<(), JoinError> {
        let path = self.credentials.identity.with_file_name(fleet_settings::FILE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file(&path)(error)),
            _ => Ok(()),
        }
    }

    /// Nothing is to be asked again.
    pub(super) fn finish(&self) -> Result<(), JoinError> {
        std::fs::remove_file(&self.waiting_key).map_err(file(&self.waiting_key))
    }

    /// What a host has when it has joined.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        vec![self.credentials.trust.clone(), self.credentials.identity.clone(), self.config_path.clone()]
    }

    fn write_config(&self, text: &str) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(text.as_bytes())?;
        file.as_file().set_permissions(PermissionsExt::from_mode(0o644))?;
        file.as_file().sync_all()?;
        file.persist(&self.config_path)?;
        std::fs::File::open(&self.dir)?.sync_all()
    }
}

/// Root joins for the agent's user, to whom the folder belongs and who rewrites these files later.
fn give_to_owner(path: &Path) -> Result<(), JoinError> {
    owner::give_to_folders_owner(path).map_err(file(path))
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> JoinError + use<> {
    let path = path.to_owned();
    move |source| JoinError::File { path, source }
}

/// The files of the identity are named where they are not beside the configuration.
fn text_of(settings: &HostSettings, identity: Option<&CredentialFiles>) -> Result<String, JoinError> {
    let keys = Keys {
        host: settings.host.as_str(),
        tenant: settings.tenant.as_str(),
        compartments: compartment_names(settings.compartments),
        classification: settings.classification.level(),
        devices: settings.devices.iter().map(|device| device.0).collect(),
        aggregators: &settings.aggregators,
        join: &settings.join_addresses,
        link: link_name(settings.key_exchange),
        identity: identity.map(|files| Files { file: &files.identity, trust: &files.trust }),
    };
    // Names, numbers and lists of them are TOML; a path is if it is UTF-8.
    let not_utf8 = |_| io::Error::new(io::ErrorKind::InvalidInput, "a name that is not UTF-8 cannot be in agent.toml");
    let at = identity.map_or(Path::new("agent.toml"), |files| &files.identity);
    let keys = toml::to_string(&keys).map_err(not_utf8).map_err(file(at))?;
    Ok(format!("# Written by `dsmil-agent join`; yours from now on. `dsmil-agent check` looks it over.\n{keys}"))
}

/// The keys that the centre knows, in the order of the reference.
#[derive(Serialize)]
struct Keys<'a> {
    host: &'a str,
    tenant: &'a str,
    compartments: Vec<&'static str>,
    classification: u8,
    aggregators: &'a [String],
    join: &'a [String],
    link: &'static str,
    devices: Vec<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Files<'a>>,
}

/// `[identity]`
#[derive(Serialize)]
struct Files<'a> {
    file: &'a Path,
    trust: &'a Path,
}
