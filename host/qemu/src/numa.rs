//! NUMA nodes of the host and their CPUs.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::QemuError;

/// A set of CPUs, written as the kernel does: `0-3,8`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuList(BTreeSet<u32>);

/// More CPUs than any machine has; what names more is not a list of CPUs.
const MOST_CPUS: u32 = 1 << 16;

impl CpuList {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Extend<u32> for CpuList {
    fn extend<T: IntoIterator<Item = u32>>(&mut self, cpus: T) {
        self.0.extend(cpus);
    }
}

impl FromStr for CpuList {
    type Err = QemuError;

    fn from_str(text: &str) -> Result<Self, QemuError> {
        let mut cpus = BTreeSet::new();
        for part in text.trim().split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (first.parse::<u32>(), last.parse::<u32>()) {
                (Ok(first), Ok(last)) if first <= last && last < MOST_CPUS => {
                    cpus.extend(first..=last);
                }
                _ => {
                    let reason = format!("{text:?} is not a list of CPUs as in 0-3,8");
                    return Err(QemuError::description("pin", reason));
                }
            }
        }
        Ok(Self(cpus))
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for &cpu in &self.0 {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == cpu => *last = cpu,
                _ => runs.push((cpu, cpu)),
            }
        }
        for (index, (first, last)) in runs.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub number: u32,
    /// Its CPUs.
    pub cpus: CpuList,
}

/// Nodes of the host below `root`, by number. A kernel without NUMA has none.
///
/// # Errors
/// [`QemuError::Read`], [`QemuError::Description`] for a CPU list that is none.
pub fn nodes(root: &Path) -> Result<Vec<Node>, QemuError> {
    let folder = root.join("sys/devices/system/node");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(source) => {
            return Err(QemuError::Read {
                path: folder,
                source,
            });
        }
    };
    let mut nodes = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| QemuError::Read {
            path: folder.clone(),
            source,
        })?;
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix("node")?.parse().ok());
        if let Some(number) = number {
            let path = entry.path().join("cpulist");
            let text = std::fs::read_to_string(&path)
                .map_err(|source| QemuError::Read { path, source })?;
            nodes.push(Node {
                number,
                cpus: text.parse()?,
            });
        }
    }
    nodes.sort_by_key(|node| node.number);
    Ok(nodes)
}

/// Where a VM with these devices should run: on the nodes they are attached to, or, with
/// no device on a known node, on the node with the most CPUs.
///
/// `None` on a host without NUMA, where there is nothing to choose.
pub fn plan(nodes: &[Node], devices: impl IntoIterator<Item = Option<u32>>) -> Option<Placement> {
    let wanted: BTreeSet<u32> = devices.into_iter().flatten().collect();
    let mut chosen: Vec<&Node> = nodes
        .iter()
        .filter(|node| wanted.contains(&node.number))
        .collect();
    if chosen.is_empty() {
        // The first of the largest.
        chosen.extend(nodes.iter().rev().max_by_key(|node| node.cpus.len()));
    }
    let mut placement = Placement {
        host_nodes: vec![],
        cpus: CpuList::default(),
    };
    for node in chosen {
        placement.host_nodes.push(node.number);
        placement.cpus.extend(node.cpus.0.iter().copied());
    }
    (!placement.cpus.is_empty()).then_some(placement)
}

/// Where a VM runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Nodes whose memory it takes.
    pub host_nodes: Vec<u32>,
    /// CPUs it runs on: theirs.
    pub cpus: CpuList,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_round_trip_and_garbage_is_refused() {
        for text in ["0", "0-3", "0-3,8", "1,3,5", ""] {
            assert_eq!(text.parse::<CpuList>().unwrap().to_string(), text);
        }
        assert_eq!("3,1-2,2\n".parse::<CpuList>().unwrap().to_string(), "1-3");
        for wrong in ["3-1", "a", "1-", "-1", "0-4294967295", "65536"] {
            assert!(wrong.parse::<CpuList>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_vm_runs_where_its_devices_are() {
        let node = |number, cpus: &str| Node {
            number,
            cpus: cpus.parse().unwrap(),
        };
        let nodes = [node(0, "0-3"), node(1, "4-7"), node(2, "8-15")];
        let at = |devices: &[Option<u32>]| {
            let plan = plan(&nodes, devices.iter().copied()).unwrap();
            (plan.host_nodes, plan.cpus.to_string())
        };
        assert_eq!(at(&[Some(1), Some(1)]), (vec![1], "4-7".to_owned()));
        assert_eq!(at(&[Some(1), Some(0)]), (vec![0, 1], "0-7".to_owned()));
        assert_eq!(at(&[None]), (vec![2], "8-15".to_owned()));
        assert_eq!(at(&[Some(9)]), (vec![2], "8-15".to_owned()));
        assert_eq!(plan(&[], [Some(0)]), None);
    }
}
