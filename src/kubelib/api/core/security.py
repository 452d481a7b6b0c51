"""As whom processes run, and with which rights."""

from typing import ClassVar

from kubelib.api.meta import Int64
from kubelib.api.model import Model


class Capabilities(Model):
    """Linux capabilities to add and to drop."""

    __proto__: ClassVar[str] = "1-2"

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class SELinuxOptions(Model):
    """An SELinux label."""

    __proto__: ClassVar[str] = "1-4"

    user: str = ""
    role: str = ""
    type: str = ""
    level: str = ""


class WindowsSecurityContextOptions(Model):
    """As whom a Windows container runs."""

    __proto__: ClassVar[str] = "1-4"

    gmsa_credential_spec_name: str = ""
    gmsa_credential_spec: str = ""
    run_as_user_name: str = ""
    host_process: bool | None = None


class SeccompProfile(Model):
    """Which system calls are allowed."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "type"

    type: str = ""
    localhost_profile: str = ""


class AppArmorProfile(Model):
    """Which AppArmor profile confines the processes."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "type"

    type: str = ""
    localhost_profile: str = ""


class SecurityContext(Model):
    """As whom, and with which rights, one container runs."""

    __proto__: ClassVar[str] = "1-12"

    capabilities: Capabilities | None = None
    privileged: bool | None = None
    se_linux_options: SELinuxOptions | None = None
    run_as_user: Int64 | None = None
    run_as_non_root: bool | None = None
    read_only_root_filesystem: bool | None = None
    allow_privilege_escalation: bool | None = None
    run_as_group: Int64 | None = None
    proc_mount: str = ""
    windows_options: WindowsSecurityContextOptions | None = None
    seccomp_profile: SeccompProfile | None = None
    app_armor_profile: AppArmorProfile | None = None


class Sysctl(Model):
    """A kernel parameter to set."""

    __proto__: ClassVar[str] = "1-2"
    __required__: ClassVar[str] = "name value"

    name: str = ""
    value: str = ""


class PodSecurityContext(Model):
    """As whom, and with which rights, the containers of a Pod run."""

    __proto__: ClassVar[str] = "1-13"

    se_linux_options: SELinuxOptions | None = None
    run_as_user: Int64 | None = None
    run_as_non_root: bool | None = None
    supplemental_groups: tuple[Int64, ...] = ()
    fs_group: Int64 | None = None
    run_as_group: Int64 | None = None
    sysctls: tuple[Sysctl, ...] = ()
    windows_options: WindowsSecurityContextOptions | None = None
    fs_group_change_policy: str = ""
    seccomp_profile: SeccompProfile | None = None
    app_armor_profile: AppArmorProfile | None = None
    supplemental_groups_policy: str = ""
    se_linux_change_policy: str = ""
