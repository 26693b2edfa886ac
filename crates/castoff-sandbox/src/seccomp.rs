//! Seccomp filters, assembled by hand: what a default container may not call, and the filter that
//! makes changes of identity succeed where there is one id only.
//!
//! Docker's profile allows a list and denies the rest. Ours denies a list: the calls that Docker
//! reserves for capabilities a container does not have, those that make user namespaces, and those that
//! it leaves out for their history (io_uring, userfaultfd, kernel keys). What a new kernel adds is
//! allowed until it is listed; its capability checks still hold.

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO, sock_filter,
};

/// Offsets in `struct seccomp_data` of linux/seccomp.h.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// AUDIT_ARCH_* of linux/audit.h.
#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;
#[cfg(target_arch = "x86_64")]
const I386: u32 = 0x4000_0003;

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET.
const NAMESPACES: u32 = 0x7e02_0000;

/// Calls that a default container gets EPERM for.
const DENIED: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_mbind,
    libc::SYS_migrate_pages,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_move_pages,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_set_mempolicy,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_sysfs,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ustat,
];

/// The same for 32-bit programs on x86-64, by the numbers of asm/unistd_32.h.
#[cfg(target_arch = "x86_64")]
const DENIED_I386: &[u32] = &[
    21, 22, 25, 51, 52, 62, 74, 79, 86, 87, 88, 101, 103, 110, 111, 113, 115, 121, 128, 129, 131, 135, 166,
    169, 217, 264, 274, 276, 283, 286, 287, 288, 294, 310, 317, 336, 338, 341, 342, 346, 349, 350, 357, 374,
    404, 425, 426, 427, 428, 429, 430, 431, 432, 433, 440, 442, 443,
];

/// `clone` and `clone3` there.
#[cfg(target_arch = "x86_64")]
const CLONE_I386: [u32; 2] = [120, 435];

/// Calls that change owner or identity.
const IDENTITY: &[libc::c_long] = &[
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_capset,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
];

/// A program under construction.
struct Program(Vec<sock_filter>);

impl Program {
    fn statement(&mut self, code: u32, value: u32) {
        self.0.push(sock_filter { code: code as u16, jt: 0, jf: 0, k: value });
    }

    fn load(&mut self, offset: u32) {
        self.statement(BPF_LD | BPF_W | BPF_ABS, offset);
    }

    fn answer(&mut self, action: u32) {
        self.statement(BPF_RET | BPF_K, action);
    }

    /// Skips the next `count` instructions unless the loaded value equals `value`.
    fn unless_equal_skip(&mut self, value: u32, count: u8) {
        self.0.push(sock_filter { code: (BPF_JMP | BPF_JEQ | BPF_K) as u16, jt: 0, jf: count, k: value });
    }

    /// Denies the making of namespaces by these two calls; the number is loaded before and after.
    fn clone_without_namespaces(&mut self, [clone, clone3]: [u32; 2]) {
        // Its flags are behind a pointer, so the C library is sent to `clone`, as Docker does.
        self.on_call(clone3, errno(libc::ENOSYS));
        self.unless_equal_skip(clone, 4);
        self.load(ARGUMENTS);
        self.0.push(sock_filter { code: (BPF_JMP | BPF_JSET | BPF_K) as u16, jt: 0, jf: 1, k: NAMESPACES });
        self.answer(errno(libc::EPERM));
        self.load(NUMBER);
    }

    /// Answers with `action` when the loaded call number is `number` and the first argument `value`; the
    /// number is loaded afterwards.
    fn on_argument(&mut self, number: u32, value: u32, action: u32) {
        self.unless_equal_skip(number, 4);
        self.load(ARGUMENTS);
        self.unless_equal_skip(value, 1);
        self.answer(action);
        self.load(NUMBER);
    }

    /// Answers with `action` when the loaded call number is `number`.
    fn on_call(&mut self, number: u32, action: u32) {
        self.unless_equal_skip(number, 1);
        self.answer(action);
    }
}

fn errno(error: i32) -> u32 {
    SECCOMP_RET_ERRNO | error as u32
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).expect("call numbers are small and not negative")
}

/// Returns the filter of a default container.
pub(crate) fn default_filter() -> Vec<sock_filter> {
    let mut program = Program(Vec::new());
    program.load(ARCHITECTURE);
    let denied = errno(libc::EPERM);
    #[cfg(target_arch = "x86_64")]
    {
        // Other architectures skip the table of 32-bit calls: a load, two instructions a call, those
        // about clone, and the last answer.
        let mut table = Program(Vec::new());
        table.load(NUMBER);
        for call in DENIED_I386 {
            table.on_call(*call, denied);
        }
        table.clone_without_namespaces(CLONE_I386);
        table.answer(SECCOMP_RET_ALLOW);
        program.unless_equal_skip(I386, u8::try_from(table.0.len()).expect("the table is short"));
        program.0.extend(table.0);
    }
    // Emulators of other architectures make native calls; nothing else can have another one.
    program.unless_equal_skip(NATIVE, 1);
    program.0.push(sock_filter { code: (BPF_JMP | libc::BPF_JA) as u16, jt: 0, jf: 0, k: 1 });
    program.answer(errno(libc::ENOSYS));
    program.load(NUMBER);
    #[cfg(target_arch = "x86_64")]
    {
        // The x32 table (__X32_SYSCALL_BIT).
        program.0.push(sock_filter {
            code: (BPF_JMP | BPF_JGE | BPF_K) as u16,
            jt: 0,
            jf: 1,
            k: 0x4000_0000,
        });
        program.answer(errno(libc::ENOSYS));
    }
    for call in DENIED {
        program.on_call(number(*call), denied);
    }
    program.clone_without_namespaces([number(libc::SYS_clone), number(libc::SYS_clone3)]);
    // Sockets to hypervisors, as Docker.
    program.on_argument(number(libc::SYS_socket), libc::AF_VSOCK as u32, denied);
    program.answer(SECCOMP_RET_ALLOW);
    program.0
}

/// Returns the filter that lets changes of owner and identity succeed without doing anything, and the
/// making of devices too.
pub(crate) fn fake_ids_filter() -> Vec<sock_filter> {
    let mut program = Program(Vec::new());
    program.load(ARCHITECTURE);
    program.unless_equal_skip(NATIVE, 1);
    program.0.push(sock_filter { code: (BPF_JMP | libc::BPF_JA) as u16, jt: 0, jf: 0, k: 1 });
    program.answer(SECCOMP_RET_ALLOW);
    program.load(NUMBER);
    for call in IDENTITY {
        program.on_call(number(*call), errno(0));
    }
    #[cfg(target_arch = "x86_64")]
    mknod(&mut program, number(libc::SYS_mknod), 1);
    mknod(&mut program, number(libc::SYS_mknodat), 2);
    program.answer(SECCOMP_RET_ALLOW);
    program.0
}

/// Lets a call succeed whose mode argument names a character or block device.
fn mknod(program: &mut Program, call: u32, mode: u32) {
    const KIND: u32 = 0o170_000;
    program.unless_equal_skip(call, 7);
    program.load(ARGUMENTS + 8 * mode);
    program.statement(libc::BPF_ALU | libc::BPF_AND | BPF_K, KIND);
    program.unless_equal_skip(0o020_000, 1);
    program.answer(errno(0));
    program.unless_equal_skip(0o060_000, 1);
    program.answer(errno(0));
    program.answer(SECCOMP_RET_ALLOW);
}
