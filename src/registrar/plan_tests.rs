//! That the steps lead where they should, for any documents.

use proptest::prelude::*;

use super::*;

prop_compose! {
    fn any_document()(path in "/[a-d]{1,2}", port in prop::option::of("80|81"), service in "x|y") -> Document {
        Document { port, path, service, ..Document::default() }
    }
}

fn by_path(document: &Document) -> String {
    document.path.clone()
}

/// What a backend has once it took the steps.
fn applied(plan: &Plan, advertised: &Advertised) -> Advertised {
    let mut after = advertised.clone();
    for key in &plan.remove {
        assert!(after.remove(key).is_some(), "{key} was not there");
    }
    after.extend(plan.put.iter().map(|document| (by_path(document), document.clone())));
    after
}

proptest! {
    #[test]
    fn the_steps_lead_to_what_is_wanted(
        wanted in prop::collection::vec(any_document(), 0..9),
        advertised in prop::collection::vec(any_document(), 0..9),
    ) {
        let advertised: Advertised = advertised.into_iter().map(|one| (by_path(&one), one)).collect();
        let steps = plan(&wanted, &advertised, by_path);
        let after = applied(&steps, &advertised);

        let mut expected = Advertised::new();
        for document in &wanted {
            expected.entry(by_path(document)).or_insert_with(|| document.clone());
        }
        prop_assert_eq!(after.len(), expected.len());
        for (key, document) in &expected {
            prop_assert!(after[key].same_content(document));
        }
        for document in &steps.put {
            let there = advertised.get(&document.path);
            prop_assert!(there.is_none_or(|there| !there.same_content(document)), "written for nothing");
        }
        let again = plan(&wanted, &after, by_path);
        prop_assert!(again.put.is_empty() && again.remove.is_empty(), "{:?}", again);
        prop_assert_eq!(again.keep.len(), expected.len());
    }
}

#[test]
fn the_steps_stand_in_the_order_of_what_they_came_from() {
    let document = |path: &str| Document { path: path.into(), ..Document::default() };
    let advertised: Advertised = ["/k", "/z", "/b"].map(|path| (path.to_owned(), document(path))).into();
    let steps = plan(&[document("/n"), document("/k"), document("/a"), document("/n")], &advertised, by_path);
    assert_eq!(steps.put, [document("/n"), document("/a")]);
    assert_eq!(steps.keep, [document("/k")]);
    assert_eq!(steps.remove, ["/b", "/z"]);
}
