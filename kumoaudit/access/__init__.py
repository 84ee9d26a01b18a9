"""Who may do what: KumoMTA's access control as pure decisions (identities, resources, criteria, ACLs)."""
