//! The watch over what an operator writes: gateway.toml, the policies, and what of theirs has no watch of its own.
//!
//! These files are used together, and an editor saves them one by one. So they have changed once they have stood still for a
//! look: a set that is half written is not read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Sources;
use super::look::{Lookout, Watch};
use crate::config::{Files, PolicyPatterns, Stamp};

/// The files of a configuration.
#[derive(Debug)]
pub(in crate::gateway) struct Written {
    policies: PolicyPatterns,
    /// As they were read last, well or not.
    read: Stand,
    /// As the last look found them, where that was otherwise.
    moving: Option<Stand>,
}

/// How each file stands.
type Stand = BTreeMap<PathBuf, Stamp>;

impl Written {
    /// All that was read for a configuration that is used, less what is watched by itself.
    pub(in crate::gateway) fn beside(sources: &Sources, files: &Files) -> Self {
        let watched: BTreeSet<&Path> = sources.files().map(PathBuf::as_path).collect();
        let mut written = Self::of(files);
        written.read.retain(|file, _| !watched.contains(file.as_path()));
        written
    }

    /// All that was read for one that is not used.
    pub(in crate::gateway) fn of(files: &Files) -> Self {
        let read = files.stamps.iter().map(|(file, stamp)| (file.to_owned(), stamp)).collect();
        Self { policies: files.policies.clone(), read, moving: None }
    }

    /// Looks at them from here on, and finds that they changed.
    pub(in crate::gateway) fn watch(mut self, lookout: &Lookout) -> Watch<()> {
        let mut watch = Watch::new(lookout);
        watch.look_at("the configuration", move || self.look().then_some(()));
        watch
    }

    /// Whether they are others than those that were read, and as they were at the last look. They count as read then.
    fn look(&mut self) -> bool {
        let stand = self.stand();
        if stand == self.read {
            self.moving = None;
            return false;
        }
        let is_still = self.moving.as_ref() == Some(&stand);
        if is_still {
            (self.read, self.moving) = (stand, None);
        } else {
            self.moving = Some(stand);
        }
        is_still
    }

    fn stand(&self) -> Stand {
        let files = self.read.keys().cloned().chain(self.policies.files());
        files.map(|file| (file.clone(), Stamp::of(&file))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture::{GATEWAY, Ground, POLICY};

    type Change = fn(&Ground);

    fn nothing(_: &Ground) {}

    #[test]
    fn files_have_changed_once_they_stand_still() {
        const AGAIN: &str = "# again\n";
        #[rustfmt::skip]
        let cases: [(&str, [Change; 4], [bool; 4]); 9] = [
            ("nothing", [nothing; 4], [false; 4]),
            ("gateway.toml", [|g| g.write("gateway.toml", GATEWAY.to_owned() + AGAIN), nothing, nothing, nothing], [false, true, false, false]),
            ("a policy", [|g| g.write("policies/chat.toml", POLICY.to_owned() + AGAIN), nothing, nothing, nothing], [false, true, false, false]),
            ("one after the other", [|g| g.write("gateway.toml", GATEWAY.to_owned() + AGAIN), |g| g.write("policies/chat.toml", POLICY.to_owned() + AGAIN), nothing, nothing], [false, false, true, false]),
            ("a policy that is added", [|g| g.write("policies/talk.toml", POLICY), nothing, nothing, nothing], [false, true, false, false]),
            ("a policy that is taken out", [|g| std::fs::remove_file(g.path("policies/chat.toml")).unwrap(), nothing, nothing, nothing], [false, true, false, false]),
            ("what is gone for a moment", [|g| std::fs::rename(g.path("gateway.toml"), g.path("kept")).unwrap(), |g| std::fs::rename(g.path("kept"), g.path("gateway.toml")).unwrap(), nothing, nothing], [false, false, true, false]),
            ("what is watched besides", [|g| g.write("policies/chat.tokens", ""), nothing, nothing, nothing], [false; 4]),
            ("what is no policy", [|g| g.write("policies/.chat.toml.swp", AGAIN), |g| g.write("policies/notes", AGAIN), nothing, nothing], [false; 4]),
        ];
        for (name, changes, expected) in &cases {
            let ground = Ground::new();
            let (config, _) = ground.load().map_err(|mistakes| format!("{mistakes:?}")).unwrap();
            let mut written = Written::beside(&Sources::of(&config), &config.files);
            for (change, expected) in changes.iter().zip(expected) {
                change(&ground);
                assert_eq!(written.look(), *expected, "{name}");
            }
        }
        assert_eq!(cases.len(), 9);
    }
}
