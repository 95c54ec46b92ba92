#!/usr/bin/env bash
exec "$(dirname "$0")/qwen3.sh" 1.7b rollout "$@"
