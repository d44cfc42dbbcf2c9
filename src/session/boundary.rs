//! What goes toward one side: where frames of ours may stand, and when nothing more goes.
//!
//! A frame of ours is inserted only where a frame of the other side's has ended. That is a place in the outbound
//! order, behind anything that was passed on and is still unsent.

/// The way toward one side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outlet {
    pub(super) seal: Seal,
    pub(super) ping: Ping,
    /// The code of a Close frame that waits for a boundary.
    pub(super) close: Option<u16>,
    /// Whether bytes for this side wait because it takes none.
    pub(super) blocked: bool,
}

/// Whether more may go toward a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seal {
    /// Frames may go.
    Open,
    /// A Close frame was the last.
    Closed,
    /// The stream ends without a Close frame.
    Ended,
    /// Nothing reaches this side, or no boundary comes: its connection is cut.
    Cut,
}

/// A side's ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ping {
    /// None is on its way.
    Idle,
    /// One waits for a boundary.
    Due,
    /// One was sent and not a byte came since.
    Sent,
}

impl Outlet {
    pub(super) const OPEN: Self = Self { seal: Seal::Open, ping: Ping::Idle, close: None, blocked: false };

    pub(super) fn is_open(&self) -> bool {
        self.seal == Seal::Open
    }

    /// Whether a frame of ours waits for a boundary.
    pub(super) fn has_insertion(&self) -> bool {
        self.is_open() && (self.close.is_some() || self.ping == Ping::Due)
    }

    /// Asks for a Close frame, where none went or waits.
    pub(super) fn request_close(&mut self, code: u16) {
        if self.is_open() && self.close.is_none() {
            self.close = Some(code);
        }
        self.ping = Ping::Idle;
    }

    /// Ends the way, where it has not ended.
    pub(super) fn end(&mut self, seal: Seal) {
        if self.is_open() || seal == Seal::Cut {
            self.seal = seal;
        }
        self.close = None;
        self.ping = Ping::Idle;
    }
}
