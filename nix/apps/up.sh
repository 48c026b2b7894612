#!/usr/bin/env bash
# `nix run .`: without a word `lifeline up`, else what was asked of lifeline.
set -euo pipefail
(($#)) || set -- up
exec lifeline "$@"
