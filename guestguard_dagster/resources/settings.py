"""The settings, for whatever needs one of them."""

from dagster import ConfigurableResource

from guestguard_dagster.settings import Settings, load_settings


class SettingsResource(ConfigurableResource["SettingsResource"]):
    """Has no fields: secrets stay in the environment, where no run config and no page can show them."""

    def get(self) -> Settings:
        return load_settings()
