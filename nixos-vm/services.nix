# Runs services.lifeline on a NixOS machine without Kubernetes: the units under its systemd, in their sandbox.
{ module }:
{
  name = "lifeline-services";

  nodes.machine =
    { pkgs, ... }:
    {
      imports = [ module ];
      services.lifeline = {
        producer.enable = true;
        producer.settings.PUBLISH_RATE = 10;
        consumer.enable = true;
        consumer.settings = {
          HANDLER = "file";
          HANDLER_FILE = "/var/lib/lifeline-consumer/handled";
          # For this test alone: this body, received for the first time, blocks every thread.
          FAULT_HANG = "hang";
        };
        aws.enable = true;
      };
      environment.systemPackages = [ pkgs.curl ];
    };

  testScript = builtins.readFile ./services.py;
}
