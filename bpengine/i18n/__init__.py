"""English and Brazilian Portuguese: phrases by key (`phrases`), their translation (`translate`), messages (`message`)."""
