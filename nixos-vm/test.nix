# Runs the steps of e2e/ in a virtual machine without a network, against its own cluster.
{ lib, lifeline }:
let
  # NixOS 26.11 deprecates durations as plain numbers, and 26.05 knows nothing else.
  seconds =
    number:
    if lib.versionAtLeast lib.trivial.release "26.11" then
      ''__import__("datetime").timedelta(seconds=${toString number})''
    else
      toString number;
in
{
  name = "lifeline";

  nodes.machine =
    { pkgs, ... }:
    {
      imports = [ ./cluster.nix ];
      _module.args = { inherit lifeline; };
      virtualisation = {
        diskSize = 8192;
      };
      environment.systemPackages = [
        pkgs.curl
        pkgs.jq
      ];
    };

  testScript = ''
    machine.wait_for_unit("k3s")
    machine.wait_until_succeeds("kubectl get --raw /readyz", timeout=${seconds 600})
    machine.wait_until_succeeds("kubectl -n kube-system rollout status deployment/coredns --timeout=10s", timeout=${seconds 900})
    # Every step prints what it saw; the last line says how many held.
    print(machine.succeed("cd ${lifeline.steps} && bash e2e/run --overlay offline 2>&1", timeout=${seconds 3600}))
  '';
}
