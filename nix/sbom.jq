# From `cargo metadata`, the bill of materials of one image.
#   $program      the crate whose binary is in the image
#   $checksums    [{"name@version": sha256}], from Cargo.lock
#   $others       [[{name, version}]], what is in the image and no crate
# A crate that is only needed to build (build scripts, procedural macros and what they need) has the scope "excluded":
# it made the binary and is not in it.

def reach($edges):
  {seen: {}, todo: [.]}
  | until(.todo == [];
      .todo[0] as $node
      | .todo |= .[1:]
      | if .seen[$node] then . else .seen[$node] = true | .todo += ($edges[$node] // []) end)
  | .seen;

def purl: "pkg:cargo/\(.name)@\(.version)";

(.packages | map({(.id): .}) | add) as $packages
| ($packages | map_values(any(.targets[].kind[]; . == "proc-macro"))) as $macro
| (.resolve.nodes | map({(.id): [.deps[] | select(any(.dep_kinds[]; .kind != "dev")) | .pkg]}) | add) as $built
| (.resolve.nodes
   | map({(.id): [.deps[] | select(any(.dep_kinds[]; .kind == null)) | .pkg | select($macro[.] | not)]})
   | add) as $linked
| ($packages | to_entries[] | select(.value.name == $program and .value.source == null) | .key) as $root
| ($root | reach($linked)) as $in
| ($root | reach($built) | keys | map(select(. != $root))) as $all
| {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: {
      component: {
        type: "container",
        "bom-ref": "localhost/\($program)",
        name: "localhost/\($program)",
        version: $packages[$root].version
      }
    },
    components: (
      [$root, $all[]]
      | map(
          . as $id
          | $packages[$id]
          | {
              type: (if $id == $root then "application" else "library" end),
              "bom-ref": purl,
              name,
              version,
              scope: (if $in[$id] then "required" else "excluded" end),
              purl: purl
            }
            + (if .license then {licenses: [{expression: (.license | gsub("/"; " OR "))}]} else {} end)
            + ($checksums[0]["\(.name)@\(.version)"] as $sum
               | if $sum then {hashes: [{alg: "SHA-256", content: $sum}]} else {} end))
      + ($others[0] | map({
          type: "library",
          "bom-ref": "pkg:generic/\(.name)@\(.version)",
          name,
          version,
          scope: "required",
          purl: "pkg:generic/\(.name)@\(.version)"
        }))
    ),
    dependencies: (
      [{ref: "localhost/\($program)", dependsOn: ([$packages[$root] | purl] + ($others[0] | map("pkg:generic/\(.name)@\(.version)")))}]
      + ([$root, $all[]] | map({
          ref: ($packages[.] | purl),
          dependsOn: [$built[.][] | $packages[.] | purl] | unique
        }))
    )
  }
