# From `cargo metadata`, the bill of materials of one image: what is linked into its program, and what lies beside it.
#   $program      the image's program
#   $package      the crate that it is built from
#   $linked       the lines of `linked`: NAME VERSION FEATURES
#   $checksums    [{"name@version": sha256}], from Cargo.lock
#   $others       [[{name, version}]], what is in the image and no crate

def purl: "pkg:cargo/\(.name)@\(.version)";

($linked | split("\n") | map(select(. != "") | split(" ") | {("\(.[0])@\(.[1])"): true}) | add) as $in
| (.packages | map(select($in["\(.name)@\(.version)"])) | map({(.id): .}) | add) as $packages
| ($in | keys - ($packages | map("\(.name)@\(.version)"))) as $unknown
| if $unknown != [] then error("linked, and not in the metadata: \($unknown)") else . end
| ($packages[] | select(.name == $package)) as $root
| ($others[0] | map(. + {purl: "pkg:generic/\(.name)@\(.version)"})) as $others
| {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: {
      component: {
        type: "container",
        "bom-ref": "localhost/\($program)",
        name: "localhost/\($program)",
        version: $root.version
      }
    },
    components: (
      ($packages | map(
        {
          type: (if .name == $package then "application" else "library" end),
          "bom-ref": purl,
          name,
          version,
          purl: purl
        }
        + (if .license then {licenses: [{expression: (.license | gsub("/"; " OR "))}]} else {} end)
        + ($checksums[0]["\(.name)@\(.version)"] as $sum
           | if $sum then {hashes: [{alg: "SHA-256", content: $sum}]} else {} end))
       | sort_by(.purl))
      + ($others | map({type: "library", "bom-ref": .purl, name, version, purl}))
    ),
    dependencies: (
      [{ref: "localhost/\($program)", dependsOn: ([$root | purl] + ($others | map(.purl)))}]
      + ([.resolve.nodes[]
          | select($packages[.id])
          | {
              ref: ($packages[.id] | purl),
              dependsOn: ([.deps[] | select(any(.dep_kinds[]; .kind == null)) | $packages[.pkg] | select(. != null) | purl] | unique)
            }]
         | sort_by(.ref))
    )
  }
