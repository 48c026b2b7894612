# The exercise, followed in a virtual machine without a network: the steps are those of e2e/, run inside it against
# its own cluster.
{ lifeline }:
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
    machine.wait_until_succeeds("kubectl get --raw /readyz", timeout=600)
    machine.wait_until_succeeds("kubectl -n kube-system rollout status deployment/coredns --timeout=10s", timeout=900)
    # Every step prints what it saw; the last line says how many held.
    print(machine.succeed("cd ${lifeline.steps} && bash e2e/run --overlay offline 2>&1", timeout=3600))
  '';
}
