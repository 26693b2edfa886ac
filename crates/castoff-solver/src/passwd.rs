//! Users and groups of an image, from its /etc/passwd and /etc/group (D-213, D-214, D-253, D-254).

use castoff_graph::Owner;
use castoff_layer::{View, ViewError};

/// Who a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// All groups, the primary one first.
    pub groups: Vec<u32>,
    /// Home directory; `/` when unknown.
    pub home: String,
}

/// Why a user or group could not be found out. Names that are not there are told in the words of OCI
/// runtimes, because those are what people search for.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No user of that name.
    #[error("unable to find user {name}: no matching entries in passwd file")]
    UnknownUser {
        /// The name.
        name: String,
    },
    /// No group of that name.
    #[error("unable to find group {name}: no matching entries in group file")]
    UnknownGroup {
        /// The name.
        name: String,
    },
    /// A number that no user or group can have.
    #[error("id `{text}` is not between 0 and 4294967294")]
    OutOfRange {
        /// As written.
        text: String,
    },
    /// The files could not be read.
    #[error("reading the users of the image: {0}")]
    View(#[from] ViewError),
}

/// Larger files are not what they claim to be.
const LIMIT: u64 = 16 << 20;

/// Looks up `--chown` (D-213). `root` needs no file.
pub fn resolve_owner(view: &View, owner: &Owner) -> Result<(u32, u32), UserError> {
    let (uid, own_group) = match number(&owner.user)? {
        Some(uid) => (uid, uid),
        None if matches!(owner.user.as_str(), "" | "root") => (0, 0),
        None => {
            let user = users(view)?.into_iter().find(|user| user.name == owner.user.as_bytes());
            let user = user.ok_or_else(|| UserError::UnknownUser { name: owner.user.clone() })?;
            (user.uid, user.gid)
        }
    };
    let gid = match owner.group.as_deref() {
        None => own_group,
        // `user:` is the group that has no name.
        Some("") => 0,
        Some(group) => resolve_group(view, group)?,
    };
    Ok((uid, gid))
}

/// Looks up to whom directories belong that WORKDIR makes for a user, `user[:group]` (D-247). USER is not
/// validated before a process needs it (D-252): as in BuildKit, who is not known is root, and a group that
/// is not known is as if it were not named.
pub fn resolve_maker(view: &View, user: &str) -> Result<(u32, u32), UserError> {
    let (name, group) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group.to_owned())),
        None => (user, None),
    };
    let alone = Owner { user: name.to_owned(), group: None };
    let (uid, own_group) = match resolve_owner(view, &alone) {
        Err(UserError::UnknownUser { .. }) => (0, 0),
        found => found?,
    };
    if group.is_none() {
        return Ok((uid, own_group));
    }
    match resolve_owner(view, &Owner { user: "0".to_owned(), group }) {
        Err(UserError::UnknownGroup { .. }) => Ok((uid, own_group)),
        found => Ok((uid, found?.1)),
    }
}

/// Looks up the user of a process, `user[:group]` (D-253). The empty text is root.
pub fn resolve_user(view: &View, user: &str) -> Result<Ids, UserError> {
    let (name, group) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let name = if name.is_empty() { "root" } else { name };
    let wanted = number(name)?;
    if let (Some(uid), Some(group)) = (wanted, group)
        && let Some(gid) = number(group)?
    {
        // No look-up decides who this is; the home directory is a courtesy.
        let home = users(view)?.into_iter().find(|user| user.uid == uid);
        let home = home.map_or_else(|| "/".to_owned(), |user| user.home());
        return Ok(Ids { uid, gid, groups: vec![gid], home });
    }
    let entry = users(view)?.into_iter().find(|user| match wanted {
        Some(uid) => user.uid == uid,
        None => user.name == name.as_bytes(),
    });
    let (uid, home) = match (&entry, wanted) {
        (Some(entry), _) => (entry.uid, entry.home()),
        (None, Some(uid)) => (uid, "/".to_owned()),
        (None, None) if name == "root" => (0, "/".to_owned()),
        (None, None) => return Err(UserError::UnknownUser { name: name.to_owned() }),
    };
    if let Some(group) = group {
        let gid = resolve_group(view, group)?;
        return Ok(Ids { uid, gid, groups: vec![gid], home });
    }
    let Some(entry) = entry else { return Ok(Ids { uid, gid: 0, groups: vec![0], home }) };
    let mut groups = vec![entry.gid];
    for group in self::groups(view)? {
        if group.members.contains(&entry.name) && !groups.contains(&group.gid) {
            groups.push(group.gid);
        }
    }
    Ok(Ids { uid, gid: entry.gid, groups, home })
}

fn resolve_group(view: &View, group: &str) -> Result<u32, UserError> {
    if let Some(gid) = number(group)? {
        return Ok(gid);
    }
    if let Some(found) = groups(view)?.into_iter().find(|found| found.name == group.as_bytes()) {
        return Ok(found.gid);
    }
    if group == "root" { Ok(0) } else { Err(UserError::UnknownGroup { name: group.to_owned() }) }
}

/// Returns the value of a text of digits; `None` for a name.
fn number(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    // (uid_t) -1 means "leave as it is" in chown(2) and setresuid(2).
    match text.parse() {
        Ok(number) if number != u32::MAX => Ok(Some(number)),
        _ => Err(UserError::OutOfRange { text: text.to_owned() }),
    }
}

struct User {
    name: Vec<u8>,
    uid: u32,
    gid: u32,
    home: Vec<u8>,
}

impl User {
    fn home(&self) -> String {
        if self.home.is_empty() { "/".to_owned() } else { String::from_utf8_lossy(&self.home).into_owned() }
    }
}

struct Group {
    name: Vec<u8>,
    gid: u32,
    members: Vec<Vec<u8>>,
}

/// Lines that are not entries are skipped, as getpwnam(3) does.
fn users(view: &View) -> Result<Vec<User>, UserError> {
    let text = view.read(b"etc/passwd", LIMIT)?.unwrap_or_default();
    let user = |line: &[u8]| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let [name, _password, uid, gid, _comment, home, ..] = fields.as_slice() else { return None };
        Some(User { name: name.to_vec(), uid: id(uid)?, gid: id(gid)?, home: home.to_vec() })
    };
    Ok(lines(&text).filter_map(user).collect())
}

fn groups(view: &View) -> Result<Vec<Group>, UserError> {
    let text = view.read(b"etc/group", LIMIT)?.unwrap_or_default();
    let group = |line: &[u8]| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let [name, _password, gid, rest @ ..] = fields.as_slice() else { return None };
        let members = rest.first().copied().unwrap_or_default();
        let members = members.split(|byte| *byte == b',').filter(|member| !member.is_empty());
        Some(Group { name: name.to_vec(), gid: id(gid)?, members: members.map(<[u8]>::to_vec).collect() })
    };
    Ok(lines(&text).filter_map(group).collect())
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
}

fn id(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}
