//! The one table of error codes: what a peer is told when it is refused, and what its operator should do.

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $text:literal, $remedy:literal;)+) => {
        /// Why a frame, a batch or a peer was refused. The number is what crosses the wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ $name,)+
        }

        impl ErrorCode {
            /// Every code there is, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The number on the wire.
            pub const fn number(self) -> u16 {
                match self { $(Self::$name => $code,)+ }
            }

            /// The code of a number; [`ErrorCode::Unknown`] for one that this program does not know.
            pub fn from_number(number: u16) -> Self {
                match number { $($code => Self::$name,)+ _ => Self::Unknown }
            }

            /// A short name for logs and metric labels.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// What to do about it: the runbook's line.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)+ }
            }
        }
    };
}

codes! {
    /// The frame does not start with "DSMI".
    BadMagic = 1, "bad_magic", "The peer speaks something else on this port. Check the address it was given.";
    /// A frame of another version.
    BadVersion = 2, "bad_version", "Upgrade the older side; HELLO names the versions that both speak.";
    /// A message type that does not exist or that this program does not implement.
    BadType = 3, "bad_type", "Upgrade the receiving side, or find out why the sender sends a message it should not.";
    /// A flag that is not defined.
    BadFlags = 4, "bad_flags", "Upgrade the receiving side; until then the sender must not use new flags.";
    /// A length over the cap of its message type.
    BadLength = 5, "bad_length", "The sender is broken or hostile. Look at its version and its log.";
    /// The checksum does not fit the bytes.
    BadCrc = 6, "bad_crc", "Bytes changed after the sender made them: suspect its memory or its spool. `dsmilctl host spool` there names the batches set aside.";
    /// A TLV that is cut short or has the wrong length for its type.
    TlvMalformed = 7, "tlv_malformed", "The sender is broken or hostile. Look at its version and its log.";
    /// A TLV that must be there is not.
    TlvMissing = 8, "tlv_missing", "The sender is older or broken. Look at its version.";
    /// A TLV type that occurs twice.
    TlvTwice = 9, "tlv_twice", "The sender is broken or hostile. Look at its version and its log.";
    /// A TLV type that is unknown and not marked as skippable.
    TlvUnknown = 10, "tlv_unknown", "Upgrade the receiving side.";
    /// Another tenant than the session's.
    TenantMismatch = 11, "tenant_mismatch", "The host was set up for another aggregator. Set `tenant` in agent.toml to the aggregator's.";
    /// The kinetic compartment, which is refused always.
    KineticRefused = 12, "kinetic_refused", "A critical incident: the source stays shut out until two people release it.";
    /// The data's classification is above the peer's clearance.
    NotDominated = 13, "classification_not_dominated", "Compare the host's classification in the fleet file with what it sends.";
    /// A compartment that the peer does not have.
    NotCovered = 14, "compartment_not_covered", "Compare the host's compartments in the fleet file with what it sends.";
    /// A device that is not on the peer's host.
    NotOfThisHost = 15, "source_not_of_this_host", "Place the device on the host in the fleet file, or find out who speaks in its name.";
    /// A sequence number that was seen before or is too old.
    Replay = 16, "replay", "A frame came twice. One is a fault, many are an attack: look at where they come from.";
    /// A token that does not verify.
    TokenInvalid = 17, "token_invalid", "Issue a new token.";
    /// A token past its time.
    TokenExpired = 18, "token_expired", "Issue a new token, and check both clocks.";
    /// A second signature is due.
    TwoPersonMissing = 19, "two_person_missing", "A second person has to sign the same request.";
    /// Both signatures are one person's.
    SameSigner = 20, "same_signer", "The second signature has to be another person's.";
    /// A host that the fleet file does not name.
    NotEnrolled = 21, "not_enrolled", "Add the host to the fleet file, and run `dsmil-aggregator check`.";
    /// A revoked identity.
    Revoked = 22, "revoked", "The host was shut out on purpose. Ask whoever revoked it.";
    /// No room at present; come back in the window that is told.
    Busy = 23, "busy", "The host comes back by itself. If it lasts, look at `/health/pipeline`.";
    /// A message that is not due in this state of the session.
    OutOfTurn = 24, "out_of_turn", "The sender is broken or hostile. Look at its version and its log.";
    /// A payload that is not what its message type says.
    PayloadMalformed = 25, "payload_malformed", "The sender is broken or of another version. Look at its version and its log.";
    /// A batch whose metric set nobody told.
    UnknownMetricSet = 26, "unknown_metric_set", "The agent sends the set again by itself. If it lasts, look at the agent's log.";
    /// A batch that does not decode.
    BatchMalformed = 27, "batch_malformed", "The batch was set aside on the host: `dsmilctl host spool` names it. Suspect the host's memory.";
    /// No version that both speak.
    NoCommonVersion = 28, "no_common_version", "Upgrade the older side.";
    /// The identity presented is not the one the host claims.
    IdentityMismatch = 29, "identity_mismatch", "The certificate names another host than HELLO does. Check `host` in agent.toml.";
    /// A token that was used before.
    TokenUsed = 30, "token_used", "A token is good once. Create another; if nobody here used it, find out who did: `dsmil-aggregator security log`.";
    /// A token that was made for another host.
    TokenWrongHost = 31, "token_wrong_host", "Join with the token that was created for this host, or create one: `dsmil-aggregator token create --host`.";
    /// A token made when the fleet file gave the host other devices than now.
    TokenStale = 32, "token_stale", "The host's devices in the fleet file changed after the token was created. Create another.";
    /// A certificate request that does not verify or is not of the one kind that is signed here.
    CsrInvalid = 33, "csr_invalid", "The sender is broken or of another version. Look at its version and its log.";
    /// A renewal proved by a key that is not the host's.
    RenewalWrongKey = 34, "renewal_wrong_key", "The host joined again since, or somebody speaks in its name: `dsmil-aggregator security log`. Join it with a new token.";
    /// A renewal whose proof is not of this connection.
    RenewalReplayed = 35, "renewal_replayed", "The proof was made for another connection: something stands between the two, or repeats what it heard. `dsmil-aggregator security log` says from where.";
    /// A renewal of an identity that ended too long ago.
    RenewalTooOld = 36, "renewal_too_old", "The host was away longer than `join.max_offline_days`: join it again with a new token.";
    /// A HELLO with a key that the registry does not hold for this host.
    KeyNotEnrolled = 37, "key_not_enrolled", "The host joined again elsewhere, or a copy of its disk runs. Find out which, and join the right one with a new token.";
    /// A certificate past its time.
    LeafExpired = 38, "leaf_expired", "The agent renews by itself. If it lasts, see that it reaches the join port, and compare both clocks.";
    /// A certificate of an issuer that the trust bundle does not list any more.
    IssuerRetired = 39, "issuer_retired", "The agent renews by itself. If it lasts, see that it reaches the join port.";
    /// The aggregator cannot vouch for anybody: its trust bundle has expired, or its issuer is not in it.
    TrustUnavailable = 40, "trust_unavailable", "Look at `dsmil-aggregator trust show` on the aggregator, sign a new bundle with the root and publish it.";
    /// More frames than a session may send.
    TooFast = 41, "too_fast", "The sender is broken or hostile: no agent has so much to say. Look at its version and its log.";
    /// A code of a newer peer.
    Unknown = 0xFFFF, "unknown", "The peer is newer than this program. Upgrade to read its reason.";
}

impl ErrorCode {
    /// Whether an agent that is told this at HELLO should renew its identity before it comes back: its certificate or
    /// its key is what was refused, and the join port may give it others.
    pub const fn asks_for_renewal(self) -> bool {
        matches!(self, Self::KeyNotEnrolled | Self::LeafExpired | Self::IssuerRetired)
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name(), self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_each_one_code() {
        for (i, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(ErrorCode::from_number(code.number()), *code);
            let same = |other: &&ErrorCode| other.number() == code.number() || other.name() == code.name();
            assert!(!ErrorCode::ALL[..i].iter().any(|other| same(&other)), "{code}");
        }
        assert_eq!(ErrorCode::from_number(12_345), ErrorCode::Unknown);
    }

    #[test]
    fn what_a_renewal_may_cure_and_nothing_else_asks_for_one() {
        let asking: Vec<_> = ErrorCode::ALL.iter().copied().filter(|code| code.asks_for_renewal()).collect();
        assert_eq!(asking, [ErrorCode::KeyNotEnrolled, ErrorCode::LeafExpired, ErrorCode::IssuerRetired]);
    }
}
