# What both machines are: a serial console in the terminal, root logged in on it, no firewall between the host's
# loopback and the guest, nothing kept. Ports, memory and cores are the runner's (nix/apps/vm.sh), so that they can
# be chosen when it starts.
{ pkgs, ... }:
{
  system.stateVersion = "26.05";
  documentation.enable = false;

  virtualisation.graphics = false;
  # The only ways in are the console and the ports that the runner forwards from the host's loopback.
  networking.firewall.enable = false;
  services.getty.autologinUser = "root";

  environment.systemPackages = [
    pkgs.curl
    pkgs.jq
  ];
}
