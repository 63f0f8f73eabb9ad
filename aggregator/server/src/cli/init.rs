//! `init`.

use super::centre::block_on;
use super::output::{print, print_json};
use clap::{Args, ValueEnum};
use dsmil_aggregator::config::{LinkPolicy, LinkSection, Listen};
use dsmil_aggregator::init::{self, AdvertisedHost, Made, Order};
use dsmil_crypto::spiffe::TrustDomain;
use dsmil_protocol::ids::{HostName, TenantId};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where the installed service has its configuration, and where its own files.
const CONFIG_DIR: &str = "/etc/dsmil";
const DATA_DIR: &str = "/var/lib/dsmil/aggregator";

#[derive(Args)]
pub(crate) struct InitArgs {
    /// The folder of configuration and fleet file.
    #[arg(long, value_name = "PATH", default_value = CONFIG_DIR)]
    dir: PathBuf,
    /// The folder of keys, state and journal, which the aggregator's user has to be able to write. Left out:
    /// /var/lib/dsmil/aggregator for /etc/dsmil, otherwise that of the configuration.
    #[arg(long = "state", value_name = "PATH")]
    data: Option<PathBuf>,
    /// The aggregator's name.
    #[arg(long, default_value = "a1")]
    name: String,
    /// The tenant; it cannot be changed later.
    #[arg(long, default_value = "default")]
    tenant: TenantId,
    /// The trust domain of every identity.
    #[arg(long, default_value = "fleet.local")]
    trust_domain: String,
    /// A host for the fleet file; may be given several times. None at the first time: the shipped example of 104 devices on
    /// ten hosts.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<HostName>,
    /// The name or address by which hosts reach this aggregator, without a port: those of --quic and --join are added. Left
    /// out: the listening addresses.
    #[arg(long, value_name = "HOST")]
    advertise: Option<AdvertisedHost>,
    /// A name or address of the API in its certificate, besides localhost; may be given several times.
    #[arg(long = "https-name", value_name = "NAME")]
    https_names: Vec<String>,
    /// Listen for agents on this UDP address.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8100")]
    quic: SocketAddr,
    /// Listen for hosts that join or renew on this UDP address.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8101")]
    join: SocketAddr,
    /// Listen for API clients on this TCP address.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443")]
    https: SocketAddr,
    /// The key exchange of the link: post-quantum alone, or a classical one beside it.
    #[arg(long, value_enum, default_value_t = LinkChoice::Pure)]
    link: LinkChoice,
    /// The hot cache's file, on a tmpfs.
    #[arg(long, value_name = "FILE")]
    hot: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum LinkChoice {
    Pure,
    Hybrid,
}

impl LinkChoice {
    fn policy(self) -> LinkPolicy {
        match self {
            Self::Pure => LinkPolicy::Pure,
            Self::Hybrid => LinkPolicy::Hybrid,
        }
    }
}

pub(super) fn run(args: InitArgs) -> anyhow::Result<ExitCode> {
    let mut https_names = vec!["localhost".to_string(), "127.0.0.1".to_string(), "::1".to_string()];
    https_names.extend(args.https_names);
    let listen = Listen { quic: args.quic, join: args.join, https: args.https };
    let is_local =
        args.advertise.is_none() && init::advertised(None, &listen).join.iter().any(|a| a.starts_with("127."));
    let is_installed = args.dir == Path::new(CONFIG_DIR);
    let data = args.data.unwrap_or_else(|| if is_installed { DATA_DIR.into() } else { args.dir.clone() });
    let order = Order {
        // What is typed here is meant from here; in the configuration it would be from its folder.
        data: if data == args.dir { data } else { std::path::absolute(data)? },
        folder: args.dir,
        name: args.name,
        tenant: args.tenant,
        trust_domain: TrustDomain::new(args.trust_domain)?,
        hosts: args.hosts,
        advertise: init::advertised(args.advertise.as_ref(), &listen),
        https_names,
        listen,
        link: LinkSection { policy: args.link.policy() },
        hot: args.hot.map(std::path::absolute).transpose()?,
    };
    let made = block_on(async |clock, _| init::run(&order, clock).await)?;
    if args.json {
        print_json(&made)?;
    } else {
        print(&words(&made, is_local))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn words(made: &Made, is_local: bool) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "configuration  {}", made.config.display());
    let _ = writeln!(text, "hosts          {} in the fleet file", made.hosts.len());
    let _ = writeln!(text, "API root       {}", made.https_root.display());
    if let Some(token) = &made.api_token {
        let _ = writeln!(text, "API token      {token}   (shown this once)");
    }
    if let Some(fingerprint) = &made.root_fingerprint {
        let _ = writeln!(text, "fleet root     {fingerprint}");
    }
    if let Some(root) = &made.root {
        let root = root.display();
        let _ = writeln!(text, "\nTake {root} away, to a place without a network: whoever has it can make issuers.");
        let _ = writeln!(
            text,
            "orders.key in it signs settings of the fleet (`config push`): it may go to whoever is to push them."
        );
    }
    if made.root.is_some() && is_local {
        text.push_str(
            "Hosts elsewhere cannot join yet: they are told 127.0.0.1. Set [advertise] in the configuration.\n",
        );
    }
    let host = made.hosts.first().map_or("HOST", HostName::as_str);
    // The installed service and the verbs beside it find the configuration by themselves.
    let is_installed = made.config.starts_with(CONFIG_DIR);
    let at = if is_installed { String::new() } else { format!(" --config {}", made.config.display()) };
    let _ = match (made.root.is_some(), is_installed) {
        (true, true) => writeln!(text, "\nThen, here:  systemctl start dsmil-aggregator"),
        (true, false) => writeln!(text, "\nThen, here:  dsmil-aggregator run{at}"),
        (false, _) => writeln!(text, "\nA running aggregator reads the fleet file again at SIGHUP. Then, here:"),
    };
    let _ = writeln!(text, "             dsmil-aggregator token create{at} --host {host}");
    let _ = writeln!(text, "and on {host}, with what that prints:\n             dsmil-agent join TOKEN");
    text
}
