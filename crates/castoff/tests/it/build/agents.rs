//! RUN --mount=type=ssh and --ssh. The steps run ssh's own programs, which are this machine's.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::kit::{Done, Kit, with_steps, with_steps_as_each_user};

/// A base with ssh's programs.
const BASE: &str = "FROM busybox\nCOPY root /\n";

/// Puts ssh's programs of this machine and what they are linked to into the context.
fn programs(kit: &Kit) {
    for program in ["/usr/bin/ssh-add", "/usr/bin/ssh-keygen"] {
        let linked = Command::new("ldd").arg(program).output().unwrap();
        let linked = String::from_utf8(linked.stdout).unwrap();
        let libraries = linked.split_whitespace().filter(|word| word.starts_with('/'));
        for file in libraries.chain([program]) {
            let copy = kit.path(&format!("context/root{file}"));
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(file, copy).unwrap();
        }
    }
    kit.own_all();
}

/// Makes a key `name` in the kit's directory, with its public half beside it.
fn keygen(kit: &Kit, name: &str, passphrase: &str) {
    let path = kit.path(name);
    let words = ["-q", "-t", "ed25519", "-C", name, "-N", passphrase, "-f", path.to_str().unwrap()];
    assert!(Command::new("ssh-keygen").args(words).stdin(Stdio::null()).status().unwrap().success());
    kit.own_all();
}

/// An agent of the kit's user with one key; ends with this value.
struct RealAgent {
    process: Child,
    socket: PathBuf,
}

impl RealAgent {
    fn with(kit: &Kit, key: &str) -> RealAgent {
        let socket = kit.path("agent.socket");
        let mut command = kit.as_user(Command::new("ssh-agent"));
        let process = command.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        let mut agent = RealAgent { process, socket };
        let mut tries = 0;
        loop {
            let mut add = kit.as_user(Command::new("ssh-add"));
            let done = add.arg("-q").arg(kit.path(key)).env("SSH_AUTH_SOCK", &agent.socket).output().unwrap();
            if done.status.success() {
                return agent;
            }
            tries += 1;
            let ended = agent.process.try_wait().unwrap();
            assert!(tries < 1000 && ended.is_none(), "{done:?}");
            std::thread::yield_now();
        }
    }
}

impl Drop for RealAgent {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

/// Lists, signs, and tries to remove all keys and to add one.
const USES: &str = "COPY key.pub /tmp/key.pub\n\
    RUN --mount=type=ssh,required=true set -e; cd /tmp; \
        ssh-add -l > listed; echo data > data; \
        ssh-keygen -q -Y sign -f key.pub -n file data; \
        if ssh-add -D 2> refused; then exit 9; fi; ssh-add -l | cmp - listed; \
        ssh-keygen -q -t ed25519 -N '' -C own -f own; \
        if ssh-add own 2> refused; then exit 8; fi; ssh-add -l | cmp - listed; \
        echo \"me $(cat key.pub)\" > signers; \
        ssh-keygen -Y verify -f signers -I me -n file -s data.sig < data; \
        stat -c '%F %a %u:%g' $SSH_AUTH_SOCK > stat; echo $SSH_AUTH_SOCK >> stat\n";

fn is_used(kit: &Kit, spec: &str) {
    fs::create_dir_all(kit.path("context")).unwrap();
    fs::copy(kit.path("key.pub"), kit.path("context/key.pub")).unwrap();
    kit.own_all();
    programs(kit);
    let flags = ["--ssh", spec];
    drop(kit.build(&format!("{BASE}{USES}"), &flags).succeeds().says("Good \"file\" signature"));
    let show = "cat /tmp/listed /tmp/stat; ls -A /";
    let done = kit.build(&format!("{BASE}{USES}RUN {show}\n"), &flags).succeeds();
    let said = done.step(&format!("RUN {show}")).join("\n");
    assert!(said.contains("(ED25519)"), "{said}");
    assert!(said.contains("socket 600 0:0"), "{said}");
    assert!(said.contains("/run/buildkit/ssh_agent.0"), "{said}");
    // D-139: the place of the socket is not in the layer.
    assert!(!said.lines().any(|line| line.ends_with(" run")), "{said}");
}

// D-172, D-174, B-140
#[test]
fn a_step_signs_with_the_callers_agent_and_cannot_change_it() {
    with_steps_as_each_user(|kit| {
        keygen(kit, "key", "");
        let agent = RealAgent::with(kit, "key");
        is_used(kit, &format!("default={}", agent.socket.display()));
        let mut list = kit.as_user(Command::new("ssh-add"));
        let left = list.arg("-l").env("SSH_AUTH_SOCK", &agent.socket).output().unwrap();
        assert!(left.status.success(), "{left:?}");
    });
}

// D-172, D-174, B-140
#[test]
fn a_step_signs_with_keys_that_it_never_sees() {
    with_steps_as_each_user(|kit| {
        keygen(kit, "key", "");
        is_used(kit, "default=key");
        let secret = fs::read_to_string(kit.path("key")).unwrap();
        let line = secret.lines().nth(2).unwrap();
        assert_eq!(kit.containing("store", line.as_bytes()), Vec::<PathBuf>::new());
    });
}

// B-140
#[test]
fn the_agent_of_the_environment_is_forwarded() {
    with_steps(|kit| {
        keygen(kit, "key", "");
        let agent = RealAgent::with(kit, "key");
        programs(kit);
        kit.write("context/Dockerfile", format!("{BASE}RUN --mount=type=ssh ssh-add -l\n"));
        let words = ["build", "--ssh", "default", "context"];
        let mut command = kit.command(words);
        command.env("SSH_AUTH_SOCK", &agent.socket);
        drop(Done::of(command).succeeds().says("(ED25519)"));
        let done = kit.castoff(&words);
        assert_ne!(done.code, Some(0));
        done.says("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set");
    });
}

// D-172, D-173, D-309
#[test]
fn agents_are_optional_unless_required_and_have_owners() {
    with_steps(|kit| {
        keygen(kit, "key", "");
        keygen(kit, "other", "");
        let required = "FROM busybox\nRUN --mount=type=ssh,id=git,required true\n";
        kit.build(required, &[])
            .fails()
            .says("no SSH key \"git\" forwarded from the client")
            .says("RUN --mount");
        let absent =
            "FROM busybox\nRUN --mount=type=ssh test ! -e /run/buildkit && echo $SSH_AUTH_SOCK > /seen\n";
        assert_eq!(kit.files(absent, &[]).text("seen"), "/run/buildkit/ssh_agent.0\n");
        let several = "FROM busybox\nRUN --mount=type=ssh --mount=type=ssh,id=b,target=/agents/b,mode=0666,uid=7,gid=8 \
            --mount=type=ssh,id=b ls -n /run/buildkit > /seen; stat -c '%a %u:%g' /agents/b >> /seen; \
            echo $SSH_AUTH_SOCK >> /seen\n\
            ENV SSH_AUTH_SOCK=/mine\nRUN --mount=type=ssh echo $SSH_AUTH_SOCK >> /seen\n";
        let flags = ["--ssh", "default=key", "--ssh", "b=other"];
        let files = kit.files(several, &flags);
        let seen = files.text("seen");
        for text in ["ssh_agent.0\n", "ssh_agent.2\n", "666 7:8\n", "/run/buildkit/ssh_agent.0\n/mine\n"] {
            assert!(seen.contains(text), "{text}: {seen}");
        }
        assert!(!files.paths().iter().any(|path| path.starts_with("agents") || path.starts_with("run")));
        // Other keys are the same step.
        let done = kit.build(several, &["--ssh", "default=other,key", "--ssh", "b=key"]).succeeds();
        assert_eq!(done.executed(), Vec::<&str>::new());
    });
}

// D-253: a step of another user reaches the socket that was made for it.
#[test]
fn a_step_of_another_user_uses_its_socket() {
    with_steps(|kit| {
        keygen(kit, "key", "");
        programs(kit);
        let step = |mount: &str| format!("{BASE}USER 1000\nRUN --mount=type=ssh{mount} ssh-add -l\n");
        let flags = ["--ssh", "default=key"];
        drop(kit.build(&step(",uid=1000"), &flags).succeeds().says("(ED25519)"));
        drop(kit.build(&step(""), &flags).fails().says("Permission denied"));
    });
}

// B-140
#[test]
fn what_cannot_be_forwarded_is_refused_before_the_build() {
    with_steps(|kit| {
        keygen(kit, "key", "");
        keygen(kit, "closed", "passphrase");
        let agent = RealAgent::with(kit, "key");
        kit.write("text", "nothing secret");
        let check = |specs: &[&str], expected: &str| {
            let flags: Vec<&str> = specs.iter().flat_map(|spec| ["--ssh", spec]).collect();
            let done = kit.build("FROM busybox\nRUN true\n", &flags);
            assert_ne!(done.code, Some(0), "{specs:?}");
            done.says(expected).never_says("RUN true");
        };
        let mixed = format!("a={},key", agent.socket.display());
        let two = format!("a={0},{0}", agent.socket.display());
        check(&["a=closed"], "the key is encrypted: add it to an ssh agent with `ssh-add`");
        check(&["a=text"], "there is no private key in it");
        check(&["a=absent"], "absent");
        check(&[&mixed], "a socket and keys cannot be used together under one id");
        check(&[&two], "only one socket can be forwarded under one id");
        check(&["a=key", "a=key"], "the ssh agent `a` is given twice");
    });
}
