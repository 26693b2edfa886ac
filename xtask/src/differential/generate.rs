//! Dockerfiles from a grammar: the same seed makes the same file.

use crate::chance::Chance;

/// Paths of the context of generated cases, and some that are not there.
const SOURCES: &[&str] = &[
    "a.txt",
    "b.txt",
    "dir",
    "dir/",
    "./dir/sub",
    "dir/sub/",
    "dir/*",
    "*.txt",
    "?.txt",
    "[ab].txt",
    "[^a]*",
    "*",
    "d*/s*",
    "d*/*/*",
    ".",
    "/",
    "/dir",
    "../dir",
    "link-file",
    "link-dir",
    "link-dir/sub",
    "link-out",
    "empty",
    "odd/*",
    "dir/exec",
    "suid",
    "archive.tar",
    "archive.tgz",
    "nothing*",
    "dir/sub/../exec",
    "tw*",
    "$S",
    "${S}x",
    "many/**",
    "many/**/c",
    "many/*/c",
    "many",
    "missing",
];

const DESTINATIONS: &[&str] = &[
    "/",
    ".",
    "./",
    "/x",
    "/x/",
    "x",
    "x/",
    "/data",
    "/data/",
    "/data/sub",
    "/data/file",
    "/to-data",
    "/to-data/",
    "/abs-data/new",
    "/abs-data/new/",
    "/up-data/",
    "/dangling",
    "/dangling/",
    "/file-link",
    "/chain/in",
    "/x/y/z",
    "/x/y/z/",
    "../up",
    "../../up/",
    "/x/.",
    "/x/./y/../z/",
    "$D",
    "$D/",
    "${D}/${S:-none}",
    "/data/full",
    "/tmp/new/dir/",
    "/home/app",
];

const WORKDIRS: &[&str] =
    &["/w", "w", "/data", "/to-data/w", "/x/y", "..", "/", "./a/../b", "$D", "/tmp/deep/er/"];

const USERS: &[&str] = &["app", "1000", "33:50", "root", "app:staff", "0", "1000:1000", "7"];

const VALUES: &[&str] = &[
    "1",
    "a b",
    "$A",
    "${A}",
    "${A:-x}",
    "${B-y}",
    "${A:+z}",
    "${U:-none}",
    "\\$A",
    "'$A'",
    "${A}${B}",
    "$A.$B",
    "${A%b}",
    "${A##*/}",
    "${A/o/0}",
    "${A//o/0}",
    "",
    "a=b",
    "/p/q",
    "foo/boo",
];

const COMMANDS: &[&str] = &[
    "echo $A-$B-$U > /env",
    "mkdir -p /made/in && touch /made/in/file",
    "rm -rf /data/full",
    "rm -f /data/file",
    "chmod 700 /data",
    "chown -R 33:50 /data",
    "ln -s /data /new-link",
    "ln /bin/busybox /hard",
    "rm -rf /data && mkdir /data && echo new > /data/new",
    "mv /data /moved",
    "echo more >> /data/sub/deep",
    "mkfifo /pipe",
    "cp -a /data /copied",
    "umask",
    "pwd > /tmp/where",
    "id -u > /tmp/who",
    "chmod u+s /data/sub/deep",
    "rm -rf /x; mkdir -p /x && touch -d '2001-01-01 00:00:00' /x/old",
    "true",
    "env | sort > /tmp/all-env",
    "rm /to-data && mkdir /to-data",
    "ln -sf nowhere /to-data2",
    "touch /data/full/one && rm /data/full/two",
];

/// Returns the Dockerfile of a seed.
pub(super) fn dockerfile(seed: u64) -> String {
    let mut chance = Chance(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x1234_5678_9abc_def0);
    let mut text = String::new();
    if chance.one_in(3) {
        text.push_str("ARG G=global\nARG H=$G-more\n");
    }
    let stages = if chance.one_in(3) { 2 } else { 1 };
    for stage in 0..stages {
        let last = stage + 1 == stages;
        let image = match chance.below(8) {
            0 => "scratch",
            1 if stage > 0 => "stage0",
            _ => "base",
        };
        text.push_str(&format!("FROM {image} AS stage{stage}\nENV S=dir D=/x A=foo/boob\nARG B=arg\n"));
        for _ in 0..2 + chance.below(if last { 6 } else { 3 }) {
            let line = instruction(&mut chance, stage, image);
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

fn instruction(chance: &mut Chance, stage: usize, image: &str) -> String {
    match chance.below(24) {
        0..=8 => copy(chance, stage),
        9..=11 => format!("ADD {}{}", flags(chance), places(chance)),
        // There is no shell in a stage made of nothing.
        12..=14 if image != "scratch" => format!("RUN {}", chance.of(COMMANDS)),
        12..=16 => format!("WORKDIR {}", chance.of(WORKDIRS)),
        17 => format!("ENV {}=\"{}\"", chance.of(&["A", "B", "U", "D2"]), chance.of(VALUES)),
        18 => format!("ARG {}={}", chance.of(&["A", "B", "U"]), chance.of(VALUES).replace(' ', "_")),
        19 => format!("USER {}", chance.of(USERS)),
        20 => format!("LABEL {}=\"{}\"", chance.of(&["l", "com.example.k"]), chance.of(VALUES)),
        21 => chance
            .of(&["CMD echo $A", "CMD [\"a\", \"b\"]", "ENTRYPOINT [\"/bin/sh\"]", "ENTRYPOINT x y"])
            .to_owned(),
        22 => chance
            .of(&[
                "EXPOSE 80",
                "EXPOSE 53/udp 8000-8002",
                "VOLUME /data /v",
                "STOPSIGNAL 9",
                "SHELL [\"/bin/sh\", \"-ec\"]",
            ])
            .to_owned(),
        _ => chance
            .of(&[
                "HEALTHCHECK --interval=5s CMD true",
                "HEALTHCHECK NONE",
                "ONBUILD RUN true",
                "VOLUME [\"/w\"]",
            ])
            .to_owned(),
    }
}

fn copy(chance: &mut Chance, stage: usize) -> String {
    if stage > 0 && chance.one_in(3) {
        let source = chance.of(&[
            "/data",
            "/x",
            "/w",
            "/bin/cat",
            "/data/full/*",
            "/to-data",
            "/data/file",
            "/",
            "/nope*",
        ]);
        return format!("COPY --from=stage0 {}{source} {}", flags(chance), chance.of(DESTINATIONS));
    }
    format!("COPY {}{}", flags(chance), places(chance))
}

fn places(chance: &mut Chance) -> String {
    let mut words: Vec<&str> = Vec::new();
    for _ in 0..[1, 1, 1, 2, 3][chance.below(5)] {
        words.push(chance.of(SOURCES));
    }
    words.push(chance.of(DESTINATIONS));
    words.join(" ")
}

fn flags(chance: &mut Chance) -> String {
    let mut flags = String::new();
    if chance.one_in(4) {
        flags.push_str(&format!("--chown={} ", chance.of(USERS)));
    }
    if chance.one_in(5) {
        flags.push_str(&format!("--chmod={} ", chance.of(&["600", "0755", "4711", "0", "1777"])));
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_it_all() {
        assert_eq!(dockerfile(7), dockerfile(7));
        let different: std::collections::BTreeSet<String> = (0..100).map(dockerfile).collect();
        assert_eq!(different.len(), 100);
    }
}
