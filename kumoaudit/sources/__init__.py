"""Where events come from besides the policy: records that applications send."""
