"""How clients speak: one file per wire protocol, none of which knows another."""
