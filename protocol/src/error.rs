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
    /// A code of a newer peer.
    Unknown = 0xFFFF, "unknown", "The peer is newer than this program. Upgrade to read its reason.";
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
}
