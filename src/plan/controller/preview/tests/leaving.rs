//! Who goes when fewer are wanted.

use super::*;

/// Whom the controller removes when so many are wanted, and whom the preview says that it would.
fn removed(sim: &mut Sim, desired: &Value) -> (Vec<u32>, Vec<u32>) {
    let before = nodes(sim);
    sim.patch_desired("webapp", desired);
    let documents = ["/services/webapp/desired"].map(|path| (path.to_owned(), sim.tree.get(path).unwrap().to_vec()));
    let changes = Changes { documents: documents.to_vec(), ..Changes::default() };
    let report = preview(before, &changes, sim.now, &Terms::default()).unwrap();
    let steps = report.rounds.iter().flat_map(|round| &round.steps);
    let goes = |what: &What| matches!(what, What::Retired { .. } | What::Removed { .. });
    let mut said: Vec<u32> = steps.filter(|step| goes(&step.what)).map(|step| step.replica.unwrap().0).collect();
    said.sort_unstable();
    said.dedup();
    sim.round();
    let is_gone = |number: &u32| sim.replica(&format!("webapp.{number:010}")).is_none_or(|desired| desired.removing);
    ((1..=6).filter(is_gone).collect(), said)
}

fn six() -> Sim {
    let mut sim = Sim::new(&["web1", "web2", "web3"]);
    sim.service("webapp", &json!({ "unit": "webapp@.service" }), &json!({ "replicas": 6, "version": "v1" }));
    sim.settle();
    sim
}

#[test]
fn who_would_go_is_who_goes() {
    assert_eq!(removed(&mut six(), &json!({ "replicas": 4 })), (vec![5, 6], vec![5, 6]), "the highest, if all serve");
    let mut sim = six();
    sim.crash("web1");
    assert_eq!(removed(&mut sim, &json!({ "replicas": 4 })), (vec![1, 4], vec![1, 4]), "those on a lost host");
    let mut sim = six();
    sim.tree.put("/hosts/web2", r#"{"cordon":true}"#);
    assert_eq!(removed(&mut sim, &json!({ "replicas": 3 })), (vec![2, 5, 6], vec![2, 5, 6]), "where nothing new comes");
    assert_eq!(removed(&mut six(), &json!({ "replicas": 6 })).1, Vec::<u32>::new());
}

#[test]
fn who_would_go_is_who_goes_when_a_rollout_begins_with_it() {
    let mut sim = six();
    sim.crash("web3");
    let (gone, said) = removed(&mut sim, &json!({ "replicas": 3, "version": "v2" }));
    assert_eq!((gone.len(), &gone), (3, &said));
    assert!(gone.starts_with(&[3]) && gone.contains(&6), "{gone:?}");
}
