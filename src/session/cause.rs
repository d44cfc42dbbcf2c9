//! Why a session ended: one enum, one table of codes.

macro_rules! causes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal,)+) => {
        /// Why a session ended. The code is the log field, the metric label and the anchor in docs/reasons.md.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Cause {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Cause {
            /// Every cause, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable word for it.
            pub fn code(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                }
            }

            /// One sentence for an operator.
            pub fn explanation(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

causes! {
    /// One side sent a Close frame, and the other answered it or ended its connection.
    Closed = "closed",
    /// The client's connection ended without a Close frame.
    ClientLost = "client_lost",
    /// The backend's connection ended without a Close frame.
    BackendLost = "backend_lost",
    /// A client frame was not masked (RFC 6455 section 5.1).
    MaskMissing = "mask_missing",
    /// A backend frame was masked (RFC 6455 section 5.1).
    MaskUnexpected = "mask_unexpected",
    /// A reserved bit was set that no negotiated extension defines (RFC 6455 section 5.2).
    RsvSet = "rsv_set",
    /// A reserved opcode was used (RFC 6455 section 5.2).
    OpcodeReserved = "opcode_reserved",
    /// A length was not written in its shortest form (RFC 6455 section 5.2).
    LengthNotMinimal = "length_not_minimal",
    /// A 64-bit length had its highest bit set (RFC 6455 section 5.2).
    LengthInvalid = "length_invalid",
    /// A control frame was fragmented (RFC 6455 section 5.5).
    ControlFragmented = "control_fragmented",
    /// A control frame was longer than 125 bytes (RFC 6455 section 5.5).
    ControlTooLong = "control_too_long",
    /// A continuation frame came without a message begun (RFC 6455 section 5.4).
    ContinuationUnexpected = "continuation_unexpected",
    /// A message began inside another (RFC 6455 section 5.4).
    MessageInterleaved = "message_interleaved",
    /// A Close frame had a body of one byte or a code that may not be sent (RFC 6455 section 7.4).
    CloseInvalid = "close_invalid",
    /// The reason of a Close frame was not UTF-8 (RFC 6455 section 5.5.1).
    CloseNotUtf8 = "close_not_utf8",
    /// A message was longer than the policy allows.
    MessageTooBig = "message_too_big",
    /// A message had more fragments than the policy allows.
    TooManyFragments = "too_many_fragments",
    /// Messages came faster than the policy allows.
    MessageRate = "message_rate",
    /// Bytes came faster than the policy allows.
    ByteRate = "byte_rate",
    /// Control frames came faster than the policy allows.
    ControlRate = "control_rate",
    /// A frame header or control frame was begun and not finished in time.
    PartialHeader = "partial_header",
    /// A data frame trickled in too slowly.
    SlowFrame = "slow_frame",
    /// The client did not finish its first message in time.
    FirstMessageTimeout = "first_message_timeout",
    /// No message, nor a byte of one, went either way for too long.
    IdleTimeout = "idle_timeout",
    /// A pinged side stayed silent.
    PongTimeout = "pong_timeout",
    /// A side did not take the bytes meant for it.
    WriteStall = "write_stall",
    /// One side ended its stream and the other did not end in time.
    HalfCloseTimeout = "half_close_timeout",
    /// A side did not finish the closing handshake in time.
    CloseTimeout = "close_timeout",
    /// The credential ran out.
    CredentialExpired = "credential_expired",
    /// The session reached the policy's greatest age.
    MaxAge = "max_age",
    /// Access was taken away while the session lived.
    Revoked = "revoked",
    /// The session's server is down by its checks (`[upstream.health] down = "close"`).
    ServerDown = "server_down",
    /// The session's server was taken out of its policy (`[upstream] removed = "close"`).
    ServerRemoved = "server_removed",
    /// The gateway is shutting down.
    Drain = "drain",
    /// A bug in the gateway ended the session.
    Internal = "internal",
}

/// Whose doing the end of a session was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// The client's.
    Client,
    /// The backend's.
    Backend,
    /// The gateway's.
    Gateway,
}

impl By {
    /// The word in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Backend => "backend",
            Self::Gateway => "gateway",
        }
    }
}
