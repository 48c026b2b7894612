# A k3s node that holds our images before it starts, and asks no registry for anything. The VM and the test share it.
{
  config,
  lib,
  lifeline,
  ...
}:
{
  services.k3s = {
    enable = true;
    # Names need DNS, so the node needs k3s's own images; ours come as archives under the tag that the overlays name.
    images = [ config.services.k3s.package.airgap-images ] ++ lifeline.archives;
    disable = [
      "traefik"
      "servicelb"
      "metrics-server"
      "local-storage"
    ];
  };
  # Pods reach the API server through the node's own address.
  networking.firewall.enable = lib.mkDefault false;
  environment.variables.KUBECONFIG = "/etc/rancher/k3s/k3s.yaml";

  # k3s imports about 1 GiB into a root that is a tmpfs in the VM.
  virtualisation = {
    memorySize = lib.mkDefault 4096;
    cores = lib.mkDefault 2;
  };
}
