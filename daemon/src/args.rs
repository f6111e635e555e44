//! The command line: verbs, flags and their help. What they mean is decided in `verbs`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod ops;

pub use ops::*;

const ABOUT: &str =
    "Tidings: who is there, and news delivered. One small daemon per host, no broker.";
const AFTER: &str = "\
Without a verb, `tidings` is `tidings run`: a working node with an overlay `demo`.
The daemon is found by --socket, by TIDINGS_SOCKET, or in the user's runtime directory.
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 nobody is subscribed.";

/// The whole command line.
#[derive(Parser, Debug)]
#[command(name = "tidings", version, about = ABOUT, after_help = AFTER, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// Flags of `run`, for `tidings` without a verb.
    #[command(flatten)]
    pub run: RunArgs,
}

/// The verbs.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Run a node until it is told to leave.
    Run(RunArgs),
    /// Make the key of an overlay, or the secret of a client.
    Keygen(KeygenArgs),
    /// Check a configuration file and everything that it names, without starting anything.
    Validate(ValidateArgs),
    /// Show what a node runs with, and where it comes from.
    Config(ConfigArgs),
    /// Check this host and a configuration: what is wrong, and what to do about it.
    Doctor(DoctorArgs),
    /// Show the members of an overlay.
    Members(MembersArgs),
    /// Show the overlays that the node runs; make, change and remove them while it does.
    Overlays(OverlaysArgs),
    /// Make, show, rotate and remove the tokens that manage an overlay over HTTP.
    Tokens(TokensArgs),
    /// Show who has subscribed to what: clients of this node, and other nodes.
    Subscriptions(NamedOverlayArgs),
    /// Add, show, rotate and remove clients that attach by name and secret.
    Clients(ClientsArgs),
    /// Show and change the keys of an overlay while it runs, or rotate them.
    Keys(KeysArgs),
    /// Have the node read its configuration again, as SIGHUP does, and tell what holds.
    Reload(ManageReadArgs),
    /// Show counters and gauges.
    Stats(ReadArgs),
    /// Show what goes on at the node: overlays, members, rates.
    Top(TopArgs),
    /// Check whether members, or addresses, answer from here, and what the way there carries.
    Reach(ReachArgs),
    /// Show the round trips between this node and the members of an overlay.
    Rtt(RttArgs),
    /// Show who would get a message on a topic, and by which way.
    Trace(TraceArgs),
    /// Collect what is needed to find out what is wrong with a node, without secrets.
    Debug(DebugArgs),
    /// Leave gracefully: one overlay, or all, which stops the daemon.
    Leave(LeaveArgs),
    /// Take the node out of service: deliver what is owed, leave and stop.
    Drain(DrainArgs),
    /// Publish messages on a topic.
    Pub(PubArgs),
    /// Subscribe to topics and write what comes.
    Sub(SubArgs),
    /// Write the completions of a shell to standard output.
    Completions(CompletionsArgs),
    /// Write the manual pages, one for each verb.
    Man(ManArgs),
}

/// Flags of `run`. They win over the configuration file.
#[derive(Args, Clone, Debug, Default)]
pub struct RunArgs {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the node keeps its identity and its peers [default: $XDG_DATA_HOME/tidings or ~/.local/share/tidings].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// UDP address and port to bind [default: 0.0.0.0:7400].
    #[arg(long, value_name = "ADDR")]
    pub bind: Option<String>,
    /// Address that other nodes shall use for this one; repeat it for several.
    #[arg(long, value_name = "ADDR")]
    pub advertise: Vec<String>,
    /// Name of the node, for people [default: the host's name].
    #[arg(long)]
    pub name: Option<String>,
    /// What SIGTERM asks for: to leave, or to stop without a word, for a node that is started again soon [default: leave].
    #[arg(long, value_name = "leave|stop")]
    pub on_terminate: Option<String>,
    /// How long the node may wait for other members before it is ready all the same [default: 5s].
    #[arg(long, value_name = "TIME")]
    pub ready_timeout: Option<String>,
    /// Number of shards, one thread each [default: half of the cores, 1 to 8; one if tuned for low power].
    #[arg(long, value_name = "N")]
    pub shards: Option<i64>,
    /// Overlay to run.
    #[arg(long, value_name = "NAME")]
    pub overlay: Option<String>,
    /// Keyring of that overlay, made by `tidings keygen`.
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<String>,
    /// Address of a member to join that overlay through: ip, ip:port, host, host:port, `[v6]:port` or srv+name.
    #[arg(long, value_name = "ADDR", num_args = 1..)]
    pub join: Vec<String>,
    /// Look for members of that overlay on the network segment, by multicast: no --join is needed there.
    #[arg(long)]
    pub discover: bool,
    /// Socket for local clients.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<String>,
    /// Address and port of the management service, or `off` [default: 127.0.0.1 and the port above that of --bind].
    #[arg(long, value_name = "ADDR|off")]
    pub http: Option<String>,
}

/// Flags of `keygen`.
#[derive(Args, Debug)]
pub struct KeygenArgs {
    /// File to make, mode 0600; an existing one is left alone. `-` writes to standard output.
    pub file: PathBuf,
    /// Cipher of everything under this key [default: aes-256-gcm].
    #[arg(long, value_enum)]
    pub suite: Option<SuiteName>,
    /// Slot of the key, 0 to 7: for a rotation one that is free on every member.
    #[arg(long, value_name = "SLOT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..8))]
    pub slot: u8,
    /// Make the secret of the client NAME instead, and print its entry for the daemon's client file.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["suite", "slot"])]
    pub client: Option<String>,
}

/// Names of the ciphers.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuiteName {
    /// AES-128-GCM.
    #[value(name = "aes-128-gcm")]
    Aes128Gcm,
    /// AES-192-GCM.
    #[value(name = "aes-192-gcm")]
    Aes192Gcm,
    /// AES-256-GCM.
    #[value(name = "aes-256-gcm")]
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    #[value(name = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

/// Flags of `validate`.
#[derive(Args, Debug)]
pub struct ValidateArgs {
    /// Configuration file.
    pub file: PathBuf,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Verbs of `config`.
#[derive(Args, Debug)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: ConfigVerb,
}

/// Verbs of `config`.
#[derive(Subcommand, Debug)]
pub enum ConfigVerb {
    /// Show values and where they come from: a flag, the environment, a change while the node ran, the file, the default.
    Show(ShowArgs),
}

/// Flags of `config show`: those of the node, and its own.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// The node.
    #[command(flatten)]
    pub run: RunArgs,
    /// Show the defaults, too.
    #[arg(long)]
    pub effective: bool,
    /// How to write it.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Flags of `doctor`: those of the node that is to run, and its own.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// The node.
    #[command(flatten)]
    pub run: RunArgs,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// How a client attaches.
#[derive(Args, Debug, Clone)]
pub struct ClientArgs {
    /// The daemon's socket [default: $TIDINGS_SOCKET or the user's runtime directory].
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Attach under this name: subscriptions outlive the client for a while.
    #[arg(long = "as", value_name = "NAME")]
    pub name: Option<String>,
    /// File with the secret of that name; needed unless the daemon runs under the same uid.
    #[arg(long, value_name = "FILE", requires = "name")]
    pub secret_file: Option<PathBuf>,
}

/// Flags of verbs that only read.
#[derive(Args, Debug)]
pub struct ReadArgs {
    /// How to write it.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// How to attach.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Flags of `members`.
#[derive(Args, Debug)]
pub struct MembersArgs {
    /// Name of the overlay.
    pub overlay: String,
    /// Go on and tell every change.
    #[arg(long)]
    pub watch: bool,
    /// How to write it.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// How to attach.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Flags of `leave`.
#[derive(Args, Debug)]
pub struct LeaveArgs {
    /// Overlay to leave; without it the daemon leaves all and stops.
    pub overlay: Option<String>,
    /// How to attach.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Flags of `pub`.
#[derive(Args, Debug)]
pub struct PubArgs {
    /// Name of the overlay.
    pub overlay: String,
    /// Topic: parts joined by dots, as `orders.new`.
    pub topic: String,
    /// The message; without it and --file, standard input.
    #[arg(conflicts_with = "file")]
    pub message: Option<String>,
    /// Publish each line as a message of its own, with its newline.
    #[arg(long, conflicts_with = "message")]
    pub lines: bool,
    /// Publish this file.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// When to be content: the node has it, or every subscriber acknowledged it.
    #[arg(long, value_enum, default_value_t = Confirm::Accepted)]
    pub confirm: Confirm,
    /// Wait until N subscriptions stand before publishing.
    #[arg(long, value_name = "N")]
    pub wait_for: Option<u32>,
    /// How to write the counts.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// How to attach.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Flags of `sub`.
#[derive(Args, Debug)]
pub struct SubArgs {
    /// Name of the overlay.
    pub overlay: String,
    /// Topics or patterns: `orders.new`, `orders.*`, `*`.
    #[arg(required = true)]
    pub patterns: Vec<String>,
    /// See the messages of each publisher in order, and every hole.
    #[arg(long)]
    pub ordered: bool,
    /// Who acknowledges: this command after it wrote and flushed, or the node when it queued the message.
    #[arg(long, value_enum, default_value_t = AckName::Client)]
    pub ack: AckName,
    /// Stop after N messages.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Stop after this many seconds without a message.
    #[arg(long, value_name = "SECONDS")]
    pub idle: Option<f64>,
    /// How to write messages: `raw` writes payloads as they were published, `json` one object per line.
    #[arg(long, value_enum, default_value_t = SubFormat::Raw)]
    pub format: SubFormat,
    /// How to attach.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Flags of `completions`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub shell: ShellName,
}

/// Shells with completions.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShellName {
    /// For `/usr/share/bash-completion/completions/tidings`.
    Bash,
    /// For `_tidings` in a folder of `$fpath`.
    Zsh,
    /// For `~/.config/fish/completions/tidings.fish`.
    Fish,
}

/// Flags of `man`.
#[derive(Args, Debug)]
pub struct ManArgs {
    /// Folder to write them to; made if it is missing.
    pub dir: PathBuf,
}

/// Output of verbs that read.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Output of `sub`.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubFormat {
    /// Payloads as they were published.
    Raw,
    /// One object per line.
    Json,
}

/// What `pub` waits for.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// The node has stored it.
    Accepted,
    /// Every subscriber acknowledged it.
    Delivered,
}

/// Who acknowledges.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckName {
    /// The subscriber.
    Client,
    /// Its node.
    Node,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_verb_takes_the_flags_of_run() {
        let cli = Cli::try_parse_from(["tidings", "--bind", "127.0.0.1:0"]).unwrap();
        assert!(cli.verb.is_none());
        assert_eq!(cli.run.bind.as_deref(), Some("127.0.0.1:0"));
    }
}
