//! Which values of gateway.toml can change while the gateway runs, and which need a restart.

use std::collections::HashMap;
use std::path::Path;

use super::diagnostic::{Code, Diagnostic, Place};
use super::scope::Setting;

/// Whether a key of gateway.toml is read again by a reload. Whatever is not named here needs a restart, so that a reload
/// never says that it changed what it did not.
fn is_reloaded(key: &str) -> bool {
    let within = |table: &str| key.strip_prefix(table).is_some_and(|rest| rest.starts_with(['.', '[']));
    let of_listener = key.strip_prefix("listener[").and_then(|rest| rest.split_once("].")).map(|(_, key)| key);
    matches!(
        key,
        "policies" | "revocations" | "reload" | "capacity.sessions" | "capacity.pending" | "capacity.admissions"
    ) || within("address")
        || within("issuer")
        || within("ceiling")
        || of_listener.is_some_and(|key| key.starts_with("certificates["))
}

/// A mistake for every value of the file at `path` that differs between these two readings and needs a restart.
pub fn needs_restart<'s>(
    before: &'s [Setting],
    after: &'s [Setting],
    path: &'s Path,
) -> impl Iterator<Item = Diagnostic> + 's {
    let values = |settings: &'s [Setting]| {
        let ours = settings.iter().filter(|setting| setting.file == path && !is_reloaded(&setting.key));
        ours.map(|setting| (setting.key.as_str(), setting)).collect::<HashMap<_, _>>()
    };
    let (before, after) = (values(before), values(after));
    let mut keys: Vec<&str> = before.keys().chain(after.keys()).copied().collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().filter_map(move |key| {
        let (old, new) = (before.get(key), after.get(key));
        let value = |setting: Option<&&Setting>| setting.map(|setting| setting.value.clone());
        if value(old) == value(new) {
            return None;
        }
        let line = new.or(old).and_then(|setting| setting.line);
        let was = value(old).unwrap_or_else(|| String::from("absent"));
        let message = format!("`{key}` cannot change while the gateway runs (it is {was})");
        let place = Place::File(path.to_owned(), line);
        Some(Diagnostic::error(Code::NeedsRestart, place, message).help("restart the gateway, or take the change back"))
    })
}
