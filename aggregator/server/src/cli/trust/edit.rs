//! What goes into the draft. Nothing of it is in force before a root has signed it and it was published.

use super::super::centre::Centre;
use super::super::output::print;
use super::{AddIssuerArgs, AddOrderKeyArgs, AddRootArgs, RetireArgs, RevokeKeyArgs};
use anyhow::Context;
use dsmil_aggregator::trust::{Change, TrustDraft, hand_over};
use dsmil_crypto::csr::CheckedCsr;
use dsmil_crypto::issue::{FleetRoot, IssuerKey};
use dsmil_crypto::key::SigningKey;
use dsmil_store::state::{EventKind, SecurityEvent};
use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// The draft that is being changed. Nobody else changes it meanwhile.
struct Edit {
    draft: TrustDraft,
    /// Let go of when it is dropped.
    _lock: File,
}

impl Edit {
    async fn begin(centre: &Centre) -> anyhow::Result<Self> {
        let folder = &centre.config.identity.issuers;
        let lock = File::open(folder).with_context(|| format!("{} cannot be opened", folder.display()))?;
        flock(&lock, FlockOperation::LockExclusive)
            .with_context(|| format!("{} cannot be locked", folder.display()))?;
        let held = centre.trust().await?;
        let draft = match TrustDraft::load(&centre.draft())? {
            Some(draft) => {
                draft.check_base(&held)?;
                draft
            }
            None => TrustDraft::new(&held),
        };
        Ok(Self { draft, _lock: lock })
    }

    /// Writes it, and says what it is now and what comes next.
    fn end(self, centre: &Centre) -> anyhow::Result<()> {
        let path = centre.draft();
        self.draft.save(&path)?;
        let changes: String = self.draft.changes().iter().map(|change| format!("  {change}\n")).collect();
        print(&format!("draft  {}\n{changes}", path.display()))?;
        eprintln!("\nNothing has changed yet. Where the root is: dsmil-aggregator trust sign DRAFT --root DIR");
        eprintln!("Then here:             dsmil-aggregator trust publish BUNDLE");
        Ok(())
    }
}

pub(super) async fn add_issuer(args: &AddIssuerArgs, centre: &Centre) -> anyhow::Result<()> {
    let mut edit = Edit::begin(centre).await?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => free_name(centre, &edit.draft)?,
    };
    let key = IssuerKey::generate()?;
    let request = key.request()?;
    let fingerprint = CheckedCsr::check(&request)?.fingerprint();
    // The name is judged here, before it becomes a file's.
    edit.draft.add_issuer(&name, request)?;
    let folder = &centre.config.identity.issuers;
    let file = key_file(centre, &name);
    anyhow::ensure!(!file.exists(), "{} is there already: give another --name", file.display());
    key.save(&file)?;
    hand_over(&file, folder).with_context(|| format!("{} cannot be given to the aggregator", file.display()))?;
    note(centre, format!("issuer {name}"), format!("key {fingerprint} made, waits for the root")).await?;
    edit.end(centre)
}

/// The aggregator's name and the first number under which there is neither an issuer nor a key.
fn free_name(centre: &Centre, draft: &TrustDraft) -> anyhow::Result<String> {
    let aggregator = &centre.config.name;
    let taken = draft.issuer_names()?;
    let names = (1..=u32::MAX).map(|number| format!("{aggregator}-{number}"));
    let mut free = names.filter(|name| !taken.contains(name) && !key_file(centre, name).exists());
    free.next().context("every name is taken: give a --name")
}

fn key_file(centre: &Centre, name: &str) -> std::path::PathBuf {
    centre.config.identity.issuers.join(format!("{name}.key"))
}

pub(super) async fn add_root(args: &AddRootArgs, centre: &Centre) -> anyhow::Result<()> {
    let mut edit = Edit::begin(centre).await?;
    let root = root_in(&args.dir, centre, &edit.draft)?;
    edit.draft.add_root(root.certificate().to_vec())?;
    note(centre, format!("root {}", root.fingerprint().short()), "made, waits for the root before it".into()).await?;
    edit.end(centre)?;
    eprintln!("Take {} away, to a place without a network; both roots sign.", args.dir.display());
    Ok(())
}

fn root_in(folder: &Path, centre: &Centre, draft: &TrustDraft) -> anyhow::Result<FleetRoot> {
    let (certificate, key) = (folder.join("root.pem"), folder.join("root.key"));
    if certificate.exists() || key.exists() {
        let there = FleetRoot::load(&certificate, &key);
        return there.with_context(|| format!("{} holds something that is no root", folder.display()));
    }
    // Nobody else is to find out even that there is a key.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("{} cannot be made", folder.display()))?;
    let root = FleetRoot::create(draft.base()?.trust_domain(), centre.now_s())?;
    root.save(&certificate, &key)?;
    Ok(root)
}

pub(super) async fn add_order_key(args: &AddOrderKeyArgs, centre: &Centre) -> anyhow::Result<()> {
    let mut edit = Edit::begin(centre).await?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => {
            let taken = edit.draft.order_key_names()?;
            let mut names = (1..=u32::MAX).map(|number| format!("orders-{number}"));
            names.find(|name| !taken.contains(name)).context("every name is taken: give a --name")?
        }
    };
    let there = args.key.exists();
    let key = if there { SigningKey::load(&args.key)? } else { SigningKey::generate()? };
    // The name is judged before a file is made.
    edit.draft.add_order_key(&name, key.public_key().to_vec())?;
    if !there {
        key.save(&args.key)?;
    }
    note(centre, format!("order key {name}"), format!("key {} made, waits for the root", key.fingerprint())).await?;
    edit.end(centre)?;
    eprintln!("Take {} away: whoever has it can change the settings of the fleet.", args.key.display());
    Ok(())
}

pub(super) async fn retire(args: &RetireArgs, centre: &Centre) -> anyhow::Result<()> {
    let mut edit = Edit::begin(centre).await?;
    let retired = edit.draft.retire(&args.which)?.clone();
    edit.end(centre)?;
    match retired {
        Change::RetireOrderKey { .. } => {
            eprintln!("Settings that it has signed stay in force where they are, and go to nobody who lacks them.");
        }
        Change::RetireIssuer { .. } => {
            eprintln!(
                "Its leaves end at once. Hosts that still have one renew at the join port; a day after the issuer that"
            );
            eprintln!("follows it came into force, none has.");
        }
        _ => eprintln!("Give its folder to `trust sign` once more: hosts that slept follow only what it has signed."),
    }
    Ok(())
}

pub(super) async fn revoke_key(args: &RevokeKeyArgs, centre: &Centre) -> anyhow::Result<()> {
    let mut edit = Edit::begin(centre).await?;
    edit.draft.revoke_key(args.fingerprint)?;
    edit.end(centre)
}

pub(super) fn discard(centre: &Centre) -> anyhow::Result<()> {
    let path = centre.draft();
    match std::fs::remove_file(&path) {
        Ok(()) => Ok(print(&format!("{} is gone", path.display()))?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(print("there is no draft")?),
        Err(error) => Err(error).with_context(|| format!("{} cannot be removed", path.display())),
    }
}

/// Into the security log: a key that could become one of the fleet's.
async fn note(centre: &Centre, subject: String, what: String) -> anyhow::Result<()> {
    let event = SecurityEvent {
        detail: format!("by {}: {what}", centre.by),
        ..SecurityEvent::new(centre.now_ms(), EventKind::TrustChange, &subject)
    };
    Ok(centre.state.log(vec![event]).await?)
}
