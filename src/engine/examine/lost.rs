//! What is lost with damage, by name as far as it can be told.

use std::sync::Arc;

use super::{Damage, Examination, Sound, Source};
use crate::disk::Disk;
use crate::engine::lenient::UNREADABLE;
use crate::format::contents::Contents;
use crate::format::location::UNIT;
use crate::format::record::{FrameType, Header};
use crate::log::hint::{Check, Hint};
use crate::log::segment::Segment;
use crate::log::segments::Segments;
use crate::resource::Revision;

/// A record whose header is sound and whose body is not, or that can't be read any more.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LostRecord {
    /// `Kind/ID`, or `Kind/Prefix` of a delete by prefix.
    pub key: String,
    /// The commit that wrote it.
    pub revision: Revision,
    /// It is a delete: what it deleted may be back.
    pub is_delete: bool,
    /// The newest sound version of the key, if there is one.
    pub newest: Option<Revision>,
    /// The key is known from somewhere else. Otherwise it is as it reads now, and what is damaged
    /// may be the key itself.
    pub certain: bool,
}

impl Examination {
    /// Finds the keys that damaged records had, and what is left of them.
    pub(super) fn name_lost(&mut self, disk: &Arc<dyn Disk>) {
        self.name_by_hints(disk);
        for damage in &mut self.damages {
            let Some(lost) = &mut damage.lost else { continue };
            let Some((kind, id)) = lost.key.split_once('/') else { continue };
            let key = (kind.as_bytes().to_vec(), id.as_bytes().to_vec());
            lost.newest = self.newest.get(&key).map(|sound| Revision::from(sound.revision));
        }
    }

    /// A segment's hint says which keys its records have, under a checksum of its own.
    fn name_by_hints(&mut self, disk: &Arc<dyn Disk>) {
        let Some(manifest) = &self.manifest else { return };
        let segments = Segments::new(disk.clone(), manifest.store_id(), false);
        for source in &self.sources {
            let Source::File(segment) = source else { continue };
            let damages = self.damages.iter_mut().filter(|damage| damage.file == segment.path);
            let mut lost: Vec<(u64, &mut LostRecord)> =
                damages.filter_map(|damage| Some((damage.offset, damage.lost.as_mut()?))).collect();
            if lost.is_empty() {
                continue;
            }
            if let Hint::Good(contents, _) = segments.read_hint(segment, Check::All, |_| true) {
                lost.iter_mut().for_each(|(offset, lost)| name(lost, *offset, &contents));
            }
        }
    }

    /// What is lost with a resource that was found sound, and can't be read again.
    pub(in crate::engine) fn gone_bad(
        &self,
        kind: &str,
        id: &str,
        sound: &Sound,
        reason: &str,
    ) -> Damage {
        let Sound { offset, len, revision, .. } = *sound;
        let (segment, offset) = match &self.sources[sound.source] {
            Source::File(segment) => (segment, offset),
            Source::Tail { segment, start, .. } => (segment, start + offset),
        };
        let range = offset..offset + len;
        let unread = self
            .files
            .iter()
            .any(|(path, file)| *path == segment.path && file.failed_in(range.clone()));
        let reason = if unread { UNREADABLE } else { reason }.to_owned();
        let (key, revision) = (format!("{kind}/{id}"), Revision::from(revision));
        let lost =
            Some(LostRecord { key, revision, is_delete: false, newest: None, certain: true });
        Damage { file: segment.path.clone(), offset, len, reason, torn: false, lost }
    }
}

/// Gives a record the key that is known of its place, if it is the same record.
fn name(lost: &mut LostRecord, offset: u64, contents: &Contents) {
    let is_it = |at: u32, revision: u64| {
        u64::from(at) * UNIT == offset && Revision::from(revision) == lost.revision
    };
    for kind in contents.kinds() {
        let prefixes = kind.prefixes.iter();
        let mut found = prefixes
            .filter(|one| is_it(one.fields.offset, one.fields.revision))
            .map(|one| one.prefix.to_vec())
            .next();
        let mut entries = contents.entries(kind);
        while found.is_none() && entries.step().unwrap_or(false) {
            let fields = entries.fields();
            found = is_it(fields.offset, fields.revision).then(|| entries.id().to_vec());
        }
        if let Some(id) = found {
            lost.key = format!("{}/{}", kind.name, String::from_utf8_lossy(&id));
            lost.certain = true;
            return;
        }
    }
}

/// What a damaged record says of itself, as far as its sound header vouches for it.
pub(super) fn record(segment: &Segment, offset: u64, header: &Header) -> Option<LostRecord> {
    let bytes = segment.frame(offset).ok()?;
    let [kind, id, _] = header.layout.ranges();
    let text = |range| bytes.get(range).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    header.frame_type.is_record().then_some(())?;
    Some(LostRecord {
        key: format!("{}/{}", text(kind)?, text(id)?),
        revision: Revision::from(header.revision),
        is_delete: header.frame_type != FrameType::Put,
        newest: None,
        certain: false,
    })
}
