//! VMs are named by their name, or by the beginning of their id.

use bylaw_rpc::message::vmm::VmInfo;

use super::Vmm;
use crate::output::Failure;

/// The VM that is meant.
pub(crate) async fn find(vmm: &Vmm, wanted: &str) -> Result<VmInfo, Failure> {
    choose(vmm.vms().await?.vms, wanted)
}

/// The VM of exactly this name, if there is one.
pub(crate) fn by_name(vms: Vec<VmInfo>, name: &str) -> Result<Option<VmInfo>, Failure> {
    let named: Vec<VmInfo> = vms
        .into_iter()
        .filter(|vm| vm.name == name && vm.status != "removing")
        .collect();
    match named.len() {
        0 | 1 => Ok(named.into_iter().next()),
        _ => Err(ambiguous(&named, name)),
    }
}

fn choose(vms: Vec<VmInfo>, wanted: &str) -> Result<VmInfo, Failure> {
    if wanted.is_empty() {
        return Err(Failure::Unusable(
            "name a VM by its name or the beginning of its id".to_owned(),
        ));
    }
    let is_exact = |vm: &VmInfo| vm.id == wanted || vm.name == wanted;
    let exact = vms.iter().any(is_exact);
    let mut found: Vec<VmInfo> = vms
        .into_iter()
        .filter(|vm| {
            if exact {
                is_exact(vm)
            } else {
                vm.id.starts_with(wanted)
            }
        })
        .collect();
    match (found.len(), found.pop()) {
        (1, Some(vm)) => Ok(vm),
        (0, _) | (_, None) => Err(Failure::Unusable(format!(
            "no VM has the name {wanted:?} or an id that begins with it; see `bylaw ps`"
        ))),
        (_, Some(last)) => {
            found.push(last);
            Err(ambiguous(&found, wanted))
        }
    }
}

fn ambiguous(found: &[VmInfo], wanted: &str) -> Failure {
    let candidates: Vec<String> = found
        .iter()
        .map(|vm| format!("{} ({}, {})", vm.id, vm.name, vm.status))
        .collect();
    Failure::Unusable(format!(
        "{wanted:?} may be any of {}; name it by its id",
        candidates.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vms() -> Vec<VmInfo> {
        let vm = |id: &str, name: &str| VmInfo {
            id: id.into(),
            name: name.into(),
            status: "running".into(),
            ..VmInfo::default()
        };
        vec![
            vm("aa11", "web"),
            vm("aa22", "db"),
            vm("bb33", "db"),
            vm("cc44", "aa"),
        ]
    }

    #[test]
    fn a_name_or_the_beginning_of_an_id_names_one() {
        for (wanted, id) in [
            ("web", "aa11"),
            ("aa2", "aa22"),
            ("bb33", "bb33"),
            ("aa", "cc44"),
        ] {
            assert_eq!(choose(vms(), wanted).unwrap().id, id, "{wanted}");
        }
    }

    #[test]
    fn what_names_several_or_none_is_refused() {
        for (wanted, says) in [
            ("db", "aa22 (db, running), bb33 (db, running)"),
            ("a", "may be any of"),
            ("nothing", "no VM"),
            ("", "name a VM"),
        ] {
            let Err(Failure::Unusable(text)) = choose(vms(), wanted) else {
                panic!("{wanted} was found");
            };
            assert!(text.contains(says), "{text}");
        }
        assert!(by_name(vms(), "db").is_err());
        assert_eq!(by_name(vms(), "web").unwrap().unwrap().id, "aa11");
        assert!(by_name(vms(), "aa1").unwrap().is_none());
    }
}
