# The container images of one platform: one static program, the CA roots, nothing else.
#
# What is in them are plain files under /bin and /etc, no store paths: the same binary then gives the same layer,
# whatever derivation it came from.
{
  pkgs,
  lib,
  project,
}:
rust:
let
  inherit (rust.target.stdenv) buildPlatform hostPlatform;
  roots = "etc/ssl/certs/ca-bundle.crt";

  image =
    {
      program,
      programs ? rust.programs,
      name ? program,
      contents ? [ ],
    }:
    pkgs.dockerTools.streamLayeredImage {
      name = "localhost/${name}";
      # The tag that the overlays name.
      tag = project.version;
      # The machine that runs it, whichever builds it.
      architecture = hostPlatform.go.GOARCH;
      inherit contents;
      extraCommands = ''
        mkdir -p bin etc/ssl/certs
        install -m 555 ${lib.getExe programs.${program}} bin/${program}
        install -m 444 ${pkgs.cacert}/${roots} ${roots}
        ln -s ca-bundle.crt etc/ssl/certs/ca-certificates.crt
      '';
      config = {
        Entrypoint = [ "/bin/${program}" ];
        # A number: kubelet cannot tell from a name that it is not root's.
        User = "65532:65532";
        WorkingDir = "/";
        Env = [
          "PATH=/bin"
          "SSL_CERT_FILE=/${roots}"
        ];
        ExposedPorts."5000/tcp" = { };
        Labels = lib.mapAttrs' (key: lib.nameValuePair "org.opencontainers.image.${key}") {
          title = name;
          inherit (project.programs.${program}) description;
          source = project.repository;
          inherit (project) revision version;
          licenses = project.license;
        };
      };
    };

  plain = lib.mapAttrs' (
    program: _:
    lib.nameValuePair "${program}-image" (image {
      inherit program;
    })
  ) project.programs;

  # With a shell and curl, for `kubectl exec POD -- curl http://0.0.0.0:5000/health`. Both are this machine's, so that there are
  # debug images of its own platform alone, and none on a Mac.
  debug = lib.optionalAttrs (buildPlatform.canExecute hostPlatform) (lib.mapAttrs' (
    program: _:
    lib.nameValuePair "${program}-image-debug" (image {
      inherit program;
      name = "${program}-debug";
      contents = [
        pkgs.busybox
        pkgs.curl
      ];
    })
  ) project.programs);

  # The image as a docker-archive. Its name ends in .tar: k3s imports by that.
  archive =
    key: stream:
    pkgs.runCommand "${key}.tar" {
      passthru = { inherit stream; };
    } "${stream} >$out";

  # A hash of what an image holds and says, its commit and the names of store paths aside: the tag by which it is
  # deployed. A commit that leaves a program as it was leaves its pods alone.
  content =
    stream:
    pkgs.runCommand "${baseNameOf stream.imageName}-content" { nativeBuildInputs = [ pkgs.jq ]; } ''
      ${stream} >image.tar
      tar -xOf image.tar "$(tar -xOf image.tar manifest.json | jq -r '.[0].Config')" |
        jq -cS 'del(.history, .config.Labels["org.opencontainers.image.revision"])' |
        sha256sum | cut -c1-32 >$out
    '';

  # What the apps load: for each image its stream, its name, the tag that the overlays name, and that of its content.
  bundle = pkgs.runCommand "lifeline-images" { } (
    lib.concatMapStrings (
      stream:
      let
        folder = "$out/${baseNameOf stream.imageName}";
      in
      ''
        mkdir -p ${folder}
        ln -s ${stream} ${folder}/stream
        echo ${stream.imageName} >${folder}/name
        echo ${project.version} >${folder}/version
        ln -s ${content stream} ${folder}/content
      ''
    ) (lib.attrValues (plain // debug))
  );
in
{
  inherit
    image
    plain
    debug
    content
    bundle
    ;
  archives = lib.mapAttrs archive (plain // debug);
}
