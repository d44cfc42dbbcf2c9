//! What the gateway says of itself: every notice of the log, what it means and what is to be done.

use crate::event::Level;

/// A notice of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explained {
    /// Its code.
    pub code: &'static str,
    /// How loudly it is told.
    pub level: Level,
    /// What it means.
    pub meaning: &'static str,
    /// What is to be done; empty where nothing is.
    pub remedy: &'static str,
}

/// Every notice, by its code.
#[rustfmt::skip]
pub const ALL: [Explained; 36] = [
    of("accept_paused", Level::Warning, "Connections cannot be accepted: descriptors or memory are lacking.", "Raise the limit of open files, or lower `[capacity]`."),
    of("certificate_kept", Level::Error, "A changed certificate or key cannot be used; the one before stays in use.", "Mend the files that it names; they are looked at again once they change."),
    of("certificate_replaced", Level::Info, "A changed certificate serves from here on.", ""),
    of("danger", Level::Warning, "A `danger_` key weakens the gateway, for the reason that it gives.", "See whether the reason still holds."),
    of("drain_asked", Level::Info, "A drain was asked for by the admin socket.", ""),
    of("drain_cut", Level::Warning, "The drain time was over before every session had closed; what was left was cut.", "Raise `drain` if clients need longer."),
    of("draining", Level::Info, "The gateway drains: not ready, later without listeners, at last without sessions.", ""),
    of("file_limit", Level::Info, "How many files the gateway may open.", ""),
    of("handed_over", Level::Info, "Another process has taken over the listeners; this one drains.", ""),
    of("handover_failed", Level::Warning, "Another process began to take over and could not; this one goes on.", "See what that process said, and start it again."),
    of("internal", Level::Error, "A bug in the gateway, which goes on.", "Report it."),
    of("keys_kept", Level::Error, "A changed key of an issuer cannot be used; the keys before stay in use.", "Mend the files that it names; they are looked at again once they change."),
    of("keys_replaced", Level::Info, "Changed keys or token files are used from here on; sessions were judged again.", ""),
    of("lifted", Level::Info, "A call gave back what another had revoked or denied.", ""),
    of("listening", Level::Info, "An address or a socket is served.", ""),
    of("reload_refused", Level::Error, "The configuration was read again and is wrong; nothing was changed.", "`wsgate check` tells every mistake with its remedy."),
    of("reloaded", Level::Info, "The configuration was read again and is used; sessions were judged again.", ""),
    of("revocations_kept", Level::Error, "The changed list of revocations cannot be used; the one before holds.", "Mend the line that it names."),
    of("revocations_replaced", Level::Info, "The changed list of revocations holds; sessions that it means were ended.", ""),
    of("revoked", Level::Info, "A call took access away, here or at the process that took over.", ""),
    of("server_down", Level::Error, "A server fails its checks and gets no handshakes; as info: it loses its sessions (`down = \"close\"`).", "Look at the server."),
    of("server_ejected", Level::Warning, "Handshakes failed on end at a server; it is left alone for a while.", "Look at the server."),
    of("server_readmitted", Level::Info, "A server that was left alone answered a handshake.", ""),
    of("server_resolved", Level::Info, "The name of a server resolves again.", ""),
    of("server_unchecked", Level::Error, "A server cannot be checked, for want of a descriptor or a port here; what was known of it holds.", "Raise the limit of open files, or lower `[capacity]`."),
    of("server_unresolved", Level::Warning, "The name of a server does not resolve; the addresses that it had stay in use.", "Look at the name and at the resolver."),
    of("server_up", Level::Info, "A server passes its checks again.", ""),
    of("state_lost", Level::Error, "A revocation holds and could not be written: it would be lost with the process. It is tried again.", "See that the disk of `state` takes writes."),
    of("state_moved", Level::Warning, "The state file was moved away, replaced or cut; it is written anew.", "See who else writes in the folder of `state`."),
    of("state_torn", Level::Warning, "The last line of the state file was torn and is left out: nobody had been told that it holds.", ""),
    of("state_written", Level::Info, "The state file holds all revocations again.", ""),
    of("taken_over", Level::Info, "The listeners of another process were taken over.", ""),
    of("tokens_kept", Level::Error, "A changed token file cannot be used; the one before stays in use.", "Mend the line that it names."),
    of("watch_ended", Level::Error, "Nobody looks any longer whether files changed: a bug.", "Restart the gateway, and report it."),
    of("watch_resumed", Level::Info, "Files that did not answer answer again.", ""),
    of("watch_stalled", Level::Error, "Watched files do not answer; what was read before stays in use.", "Look at the mount on which they are."),
];

const fn of(code: &'static str, level: Level, meaning: &'static str, remedy: &'static str) -> Explained {
    Explained { code, level, meaning, remedy }
}

/// The notice of this code.
pub fn find(code: &str) -> Option<&'static Explained> {
    ALL.iter().find(|one| one.code == code)
}
