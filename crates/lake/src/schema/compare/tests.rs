use super::*;
use PrimitiveType::{Decimal, Double, Float, Int, Long, String as Text};

fn prim(kind: PrimitiveType) -> Type {
    Type::Primitive(kind)
}

fn schema(fields: Vec<NestedField>) -> Schema {
    Schema::builder().with_fields(fields.into_iter().map(Arc::new)).build().unwrap()
}

fn wanted(name: &str, kind: Type) -> Wanted {
    Wanted { name: name.to_owned(), kind, doc: Some(format!("what {name} says")) }
}

fn at(id: i32, name: &str, kind: Type) -> NestedField {
    NestedField::optional(id, name, kind)
}

fn list(element: i32, kind: Type) -> Type {
    Type::List(ListType::new(NestedField::list_element(element, kind, false).into()))
}

fn fields(fields: Vec<NestedField>) -> Type {
    Type::Struct(StructType::new(fields.into_iter().map(Arc::new).collect()))
}

/// A list of structs, as `evidence` of alerts will be, with ids counted from `first`.
fn evidence(first: i32) -> Type {
    let parts = vec![at(first + 1, "computer_id", prim(Text)), at(first + 2, "points", prim(Int))];
    list(first, fields(parts))
}

fn taken(schema: &Schema, name: &str, kind: Type) -> String {
    match find(schema, &wanted(name, kind)) {
        ColumnMatch::Taken(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_name_is_ours_with_its_type_or_a_wider_one() {
    let wide = Decimal { precision: 12, scale: 2 };
    let schema = schema(vec![
        at(1, "same", prim(Text)),
        at(22, "long", prim(Long)),
        at(23, "double", prim(Double)),
        at(24, "decimal", prim(wide.clone())),
    ]);
    for (name, kind, id) in [
        ("same", Text, 1),
        ("long", Int, 22),
        ("double", Float, 23),
        ("decimal", Decimal { precision: 9, scale: 2 }, 24),
    ] {
        let found = find(&schema, &wanted(name, prim(kind.clone())));
        // The type is ours: files have it, and readers promote it.
        assert_eq!(found, ColumnMatch::Ours(FileColumn { name: name.to_owned(), id, kind: prim(kind) }));
    }
    assert_eq!(find(&schema, &wanted("other", prim(Text))), ColumnMatch::Lacking);
    for (name, kind) in
        [("long", Double), ("double", Long), ("decimal", Decimal { precision: 9, scale: 3 }), ("same", Int)]
    {
        let why = taken(&schema, name, prim(kind.clone()));
        assert!(why.starts_with("it has type") && why.ends_with("is needed"), "{why}");
    }
    // Not the other way round: the written values may be too wide.
    let narrow = self::schema(vec![at(1, "n", prim(Int)), at(2, "d", prim(Decimal { precision: 9, scale: 2 }))]);
    taken(&narrow, "n", prim(Long));
    taken(&narrow, "d", prim(wide));
}

#[test]
fn what_is_required_or_in_other_letter_case_is_taken() {
    let schema = schema(vec![
        NestedField::required(7, "needed", prim(Text)),
        at(8, "Outcome", prim(Text)),
        at(9, "both", prim(Text)),
        at(10, "Both", prim(Int)),
    ]);
    assert!(taken(&schema, "needed", prim(Text)).contains("required"));
    assert!(taken(&schema, "outcome", prim(Text)).contains("as Outcome"));
    // One of the two names is exactly ours.
    assert!(matches!(find(&schema, &wanted("both", prim(Text))), ColumnMatch::Ours(FileColumn { id: 9, .. })));
    assert_eq!(with_lacking(&schema, 10, &[wanted("needed", prim(Text)), wanted("outcome", prim(Text))]), None);
}

#[test]
fn what_is_lacking_comes_behind_the_last_with_the_next_ids() {
    let schema = schema(vec![at(1, "event_id", prim(Text)), at(22, "their_note", prim(Text))]);
    let asked = [wanted("outcome", prim(Text)), wanted("tags", list(0, prim(Text))), wanted("event_id", prim(Text))];
    // The table gave 25 to a column that has been dropped since.
    let (new, added) = with_lacking(&schema, 25, &asked).unwrap();
    let told: Vec<_> = new.iter().map(|f| (f.id, f.name.as_str(), f.required)).collect();
    assert_eq!(told, [(1, "event_id", false), (22, "their_note", false), (26, "outcome", false), (27, "tags", false)]);
    assert_eq!(new[3].field_type.as_ref(), &list(28, prim(Text)));
    assert_eq!(new[2].doc.as_deref(), Some("what outcome says"));
    assert_eq!(added.into_iter().collect::<Vec<_>>(), ["outcome", "tags"]);
    let after = Schema::builder().with_fields(new).build().unwrap();
    assert_eq!(with_lacking(&after, 28, &asked), None);
    let ids = ColumnIds::of(&after, &asked);
    assert_eq!(ids.get("outcome").map(|c| c.id), Some(26));
    assert_eq!(ids.get("tags").map(|c| &c.kind), Some(&list(28, prim(Text))));
    assert!(ids.settles(["outcome", "tags"].into_iter()) && !ids.settles(["other"].into_iter()));
}

#[test]
fn nested_fields_are_compared_by_name_and_completed() {
    let asked = wanted("evidence", evidence(100));
    let whole = schema(vec![at(1, "a", prim(Text)), at(30, "evidence", evidence(40))]);
    let ours = FileColumn { name: "evidence".to_owned(), id: 30, kind: evidence(40) };
    assert_eq!(find(&whole, &asked), ColumnMatch::Ours(ours));

    // In a table without it: the column's own id, then level by level.
    let (new, _) = with_lacking(&schema(vec![at(1, "a", prim(Text))]), 22, std::slice::from_ref(&asked)).unwrap();
    assert_eq!((new[1].id, new[1].field_type.as_ref()), (23, &evidence(24)));

    // Others renamed one part, added one of theirs, and widened one.
    let theirs = vec![at(41, "host", prim(Text)), at(42, "points", prim(Long)), at(43, "note", prim(Text))];
    let changed = schema(vec![at(30, "evidence", list(40, fields(theirs.clone())))]);
    assert_eq!(find(&changed, &asked), ColumnMatch::Lacking);
    let (new, _) = with_lacking(&changed, 43, std::slice::from_ref(&asked)).unwrap();
    let mut parts = theirs.clone();
    parts.push(at(44, "computer_id", prim(Text)));
    assert_eq!(new[0].field_type.as_ref(), &list(40, fields(parts)));
    let after = Schema::builder().with_fields(new).build().unwrap();
    let in_files = list(40, fields(vec![at(44, "computer_id", prim(Text)), at(42, "points", prim(Int))]));
    assert_eq!(
        find(&after, &asked),
        ColumnMatch::Ours(FileColumn { name: "evidence".to_owned(), id: 30, kind: in_files })
    );

    // Parts that do not fit.
    let with = |part: NestedField| schema(vec![at(30, "evidence", list(40, fields(vec![part])))]);
    assert!(taken(&with(at(41, "points", prim(Double))), "evidence", evidence(0)).contains("type double"));
    assert!(taken(&with(at(41, "Points", prim(Int))), "evidence", evidence(0)).contains("as Points"));
    let required = NestedField::required(41, "note", prim(Text));
    assert!(taken(&with(required), "evidence", evidence(0)).contains("note is required"));
    let element = NestedField::list_element(40, fields(Vec::new()), true);
    let required = schema(vec![at(30, "evidence", Type::List(ListType::new(element.into())))]);
    assert!(taken(&required, "evidence", evidence(0)).contains("element is required"));
    assert!(taken(&schema(vec![at(30, "evidence", prim(Text))]), "evidence", evidence(0)).contains("type string"));
}

#[test]
fn maps_are_compared_and_made_as_well() {
    let map = |key: i32, value: i32, kind: Type| {
        let parts = (NestedField::map_key_element(key, prim(Text)), NestedField::map_value_element(value, kind, false));
        Type::Map(MapType::new(parts.0.into(), parts.1.into()))
    };
    let asked = wanted("labels", map(0, 0, prim(Int)));
    let (new, _) = with_lacking(&schema(vec![at(1, "a", prim(Text))]), 1, std::slice::from_ref(&asked)).unwrap();
    assert_eq!((new[1].id, new[1].field_type.as_ref()), (2, &map(3, 4, prim(Int))));
    let wider = schema(vec![at(9, "labels", map(10, 11, prim(Long)))]);
    let ours = FileColumn { name: "labels".to_owned(), id: 9, kind: map(10, 11, prim(Int)) };
    assert_eq!(find(&wider, &asked), ColumnMatch::Ours(ours));
}
