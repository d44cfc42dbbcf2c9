//! What a session is held to: the `[session]` table of a policy as values.

use std::time::Duration;

use crate::units::{ByteRate, ByteSize, Rate};

/// The rules of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRules {
    /// What the client may send.
    pub from_client: DirectionRules,
    /// What the backend may send.
    pub from_backend: DirectionRules,
    /// No message either way for this long, nor a byte of one, ends the session.
    pub idle_timeout: Duration,
    /// No session is older; jitter shortens this by up to a tenth.
    pub max_age: Duration,
    /// Whether a session outlives its credential (`danger_outlive_token`): the greatest age alone ends it then.
    pub outlives_credential: bool,
    /// A side that was silent this long is sent a ping.
    pub ping_interval: Duration,
    /// A pinged side that sends not one byte for this long is dead.
    pub pong_timeout: Duration,
    /// The client's first message must be whole by then; `None` for services in which clients never speak.
    pub first_message: Option<Duration>,
    /// A frame header or control frame that has begun must be whole by then.
    pub partial_header: Duration,
    /// A data frame older than [`SessionRules::SLOW_FRAME_GRACE`] must arrive at no less than this many bytes a second.
    pub slow_frame: ByteSize,
    /// Bytes for a side that takes none for this long end the session. Any byte taken begins it again: a side that drips
    /// is not ended by this, because what it takes goes through buffers of TLS and of the kernel and shows only in lumps;
    /// it holds one read of memory, stops its other side's clocks, and has the session's greatest age.
    pub write_stall: Duration,
    /// From the first Close frame to the end of the connection.
    pub close_timeout: Duration,
    /// From one side's end of stream to the end of the other.
    pub half_close: Duration,
    /// Close codes by cause.
    pub close: CloseCodes,
}

impl SessionRules {
    /// How old a data frame may become before its rate is judged.
    pub const SLOW_FRAME_GRACE: Duration = Duration::from_secs(30);
    /// After this a slow frame is judged again and again, by what came in so long a time.
    pub const SLOW_FRAME_WINDOW: Duration = Duration::from_secs(10);
    /// How long a session may go on closing whose access was taken away.
    pub const REVOKED_LIMIT: Duration = Duration::from_secs(1);
    /// The most by which chance shortens a credential's time, of which it is a tenth at most.
    pub const LEASE_JITTER: Duration = Duration::from_secs(30);
    /// How long a side may be over its rate of messages or control frames, with `over = "slow"`, before the session
    /// ends; it ends where it is over the rate once more behind that, so that a single message in excess of a rate of
    /// fewer than one in that time only waits. Bytes over their rate are only slowed ([`Overrun::Slow`]).
    pub const OVERRUN_LIMIT: Duration = Duration::from_secs(30);
}

impl Default for SessionRules {
    fn default() -> Self {
        Self {
            from_client: DirectionRules::default_from_client(),
            from_backend: DirectionRules::default_from_backend(),
            idle_timeout: Duration::from_secs(3600),
            max_age: Duration::from_secs(12 * 3600),
            outlives_credential: false,
            ping_interval: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(20),
            first_message: None,
            partial_header: Duration::from_secs(10),
            slow_frame: ByteSize::kib(1),
            write_stall: Duration::from_secs(60),
            close_timeout: Duration::from_secs(5),
            half_close: Duration::from_secs(10),
            close: CloseCodes::default(),
        }
    }
}

/// What one side may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectionRules {
    /// Payload bytes of one message, over all its fragments.
    pub message_size: ByteSize,
    /// Frames of one message.
    pub fragments: u32,
    /// Messages.
    pub messages: Option<Rate>,
    /// Bytes on the wire.
    pub bytes: Option<ByteRate>,
    /// Control frames.
    pub control: Option<Rate>,
    /// What happens beyond a rate.
    pub over: Overrun,
}

impl DirectionRules {
    /// How many fragments a message of at most `message_size` may have where a policy does not say.
    pub fn default_fragments(message_size: ByteSize) -> u32 {
        u32::try_from(message_size.as_u64() >> 10).unwrap_or(u32::MAX).max(64)
    }

    fn default_from_client() -> Self {
        let rate = |text: &str| text.parse().ok();
        Self {
            message_size: ByteSize::kib(64),
            fragments: Self::default_fragments(ByteSize::kib(64)),
            messages: rate("100/s burst 500"),
            bytes: "256KiB/s burst 1MiB".parse().ok(),
            control: rate("10/s burst 20"),
            over: Overrun::Slow,
        }
    }

    fn default_from_backend() -> Self {
        Self {
            message_size: ByteSize::mib(16),
            fragments: Self::default_fragments(ByteSize::mib(16)),
            messages: None,
            bytes: None,
            control: None,
            over: Overrun::Slow,
        }
    }
}

/// What happens to a side beyond its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overrun {
    /// It is not read until its bucket refills. [`SessionRules::OVERRUN_LIMIT`] of that on end closes a side that is over
    /// its rate of messages or control frames; one that is over its rate of bytes is slowed for as long as it lasts: a
    /// sender cannot know a byte rate, so closing punishes uploads, and not to read bounds the cost as well.
    Slow,
    /// It is closed at once.
    Close,
}

/// What becomes of `Sec-WebSocket-Extensions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extensions {
    /// The offer is not forwarded and RSV bits are violations.
    Strip,
    /// Offer and answer pass; where the backend chose one, so does RSV1 on the first frame of a message. Sizes count wire
    /// bytes, so the backend must cap inflation.
    Pass,
}

/// The close codes a policy may choose, by cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCodes {
    /// The credential ran out, or the session reached its greatest age.
    pub expired: u16,
    /// Access was taken away.
    pub revoked: u16,
    /// The backend went away or fell silent.
    pub backend_lost: u16,
    /// The gateway is shutting down.
    pub drain: u16,
    /// Nobody said anything for too long.
    pub idle: u16,
    /// A rate, a count or a deadline was exceeded.
    pub policy: u16,
    /// A credential was refused, where a page is told so by a Close frame.
    pub unauthorized: u16,
    /// A right is missing, where a page is told so by a Close frame.
    pub forbidden: u16,
    /// A rate or a cap before the session was exceeded, where a page is told so by a Close frame.
    pub too_many: u16,
}

impl Default for CloseCodes {
    fn default() -> Self {
        Self {
            expired: 4401,
            revoked: 4403,
            backend_lost: 1012,
            drain: 1001,
            idle: 1001,
            policy: 1008,
            unauthorized: 4401,
            forbidden: 4403,
            too_many: 4429,
        }
    }
}
