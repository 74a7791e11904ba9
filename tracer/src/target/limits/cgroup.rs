//! Memory limits of a process's cgroup and all above it.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use procfs::{
    FromBufRead as _, ProcessCGroups,
    process::{MountInfo, MountInfos},
};

use super::{LimitKind, MemoryLimit, read};

/// From here on a limit of version 1 is none: it says the largest multiple of a page.
const NONE_V1: u64 = 1 << 62;

/// Where a hierarchy is mounted, and the names of its files.
struct Hierarchy {
    mount: MountInfo,
    limits: &'static [(&'static str, LimitKind)],
    usage: &'static str,
    droppable: &'static str,
}

/// The limits of the cgroup that the process is in, and of its parents as far as they can be seen.
pub(super) fn limits(root: &Path, pid: u32) -> Result<Vec<MemoryLimit>, String> {
    let text = read(root, &format!("proc/{pid}/cgroup"))?;
    let groups = ProcessCGroups::from_buf_read(text.as_bytes()).map_err(|error| error.to_string())?.0;
    let text = read(root, "proc/self/mountinfo")?;
    let mounts = MountInfos::from_buf_read(text.as_bytes()).map_err(|error| error.to_string())?.0;

    // The memory controller is in one of both.
    let version_1 = groups.iter().find(|group| group.controllers.iter().any(|controller| controller == "memory"));
    let version_2 = groups.iter().find(|group| group.hierarchy == 0 && group.controllers.is_empty());
    let (path, hierarchy) = if let Some(group) = version_1 {
        let mounted = |mount: &MountInfo| mount.fs_type == "cgroup" && mount.super_options.contains_key("memory");
        let mount = mounts.into_iter().find(mounted).ok_or("the memory hierarchy is not mounted")?;
        let limits = &[("memory.limit_in_bytes", LimitKind::CgroupV1)];
        let (usage, droppable) = ("memory.usage_in_bytes", "total_inactive_file");
        (&group.pathname, Hierarchy { mount, limits, usage, droppable })
    } else {
        let group = version_2.ok_or("the process is in none")?;
        let mount = mounts.into_iter().find(|mount| mount.fs_type == "cgroup2").ok_or("cgroup2 is not mounted")?;
        let limits = &[("memory.max", LimitKind::CgroupMax), ("memory.high", LimitKind::CgroupHigh)];
        (&group.pathname, Hierarchy { mount, limits, usage: "memory.current", droppable: "inactive_file" })
    };
    hierarchy.limits_of(root, path)
}

impl Hierarchy {
    fn limits_of(&self, root: &Path, path: &str) -> Result<Vec<MemoryLimit>, String> {
        // In a container, the mount shows a part of the hierarchy.
        let outside = || format!("{path} is outside of what is mounted at {}", self.mount.mount_point.display());
        let inside = Path::new(path).strip_prefix(&self.mount.root).map_err(|_| outside())?;
        if inside.components().any(|part| part == Component::ParentDir) {
            return Err(outside());
        }
        let mount_point = root.join(self.mount.mount_point.strip_prefix("/").unwrap_or(&self.mount.mount_point));
        let inside = inside.strip_prefix("/").unwrap_or(inside);
        if !mount_point.join(inside).is_dir() {
            return Err(format!("{path} is not found in {}", self.mount.mount_point.display()));
        }
        let mut limits = Vec::new();
        for group in inside.ancestors() {
            limits.extend(self.limits_at(&mount_point, group));
        }
        Ok(limits)
    }

    fn limits_at(&self, mount_point: &Path, group: &Path) -> Vec<MemoryLimit> {
        let directory = mount_point.join(group);
        let number = |name: &str| fs::read_to_string(directory.join(name)).ok()?.trim().parse::<u64>().ok();
        let Some(usage) = number(self.usage) else { return Vec::new() };
        let used = usage.saturating_sub(droppable(&directory, self.droppable));
        let cgroup = PathBuf::from("/").join(group).to_string_lossy().into_owned();
        // "max" is no number.
        let found = self.limits.iter().filter_map(|(name, kind)| Some((*kind, number(name)?)));
        let some = found.filter(|(_, bytes)| *bytes < NONE_V1);
        some.map(|(kind, bytes)| MemoryLimit { kind, bytes, used, cgroup: cgroup.clone() }).collect()
    }
}

fn droppable(directory: &Path, name: &str) -> u64 {
    let stat = fs::read_to_string(directory.join("memory.stat")).unwrap_or_default();
    let value = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok());
    value.unwrap_or(0)
}
