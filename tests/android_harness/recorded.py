"""What phones print, in the variants that are known."""

# Android 12 and later. The cached block is of the last event and may be hours old; the limiter's
# readings (types 6 to 8) are millivolts, milliamperes and percent.
THERMAL = """\
IsStatusOverride: false
ThermalEventListeners:
	callbacks: 1
	killed: false
	broadcasts count: -1
ThermalStatusListeners:
	callbacks: 2
	killed: false
	broadcasts count: -1
Thermal Status: 1
Cached temperatures:
	Temperature{mValue=65.0, mType=0, mName=BIG, mStatus=3}
	Temperature{mValue=49.5, mType=3, mName=VIRTUAL-SKIN, mStatus=3}
HAL Ready: true
HAL connection:
	ThermalHAL AIDL 1  connected: yes
Current temperatures from HAL:
	Temperature{mValue=43.2, mType=0, mName=BIG, mStatus=0}
	Temperature{mValue=38.5, mType=1, mName=G3D, mStatus=0}
	Temperature{mValue=31.243, mType=3, mName=VIRTUAL-SKIN, mStatus=1}
	Temperature{mValue=4200.0, mType=6, mName=vbat, mStatus=0}
	Temperature{mValue=-5700.0, mType=-1, mName=virtual, mStatus=0}
	Temperature{mValue=NaN, mType=9, mName=TPU, mStatus=0}
	Temperature{mValue=27.9, mType=2, mName=battery, mStatus=0}
Current cooling devices from HAL:
	CoolingDevice{mValue=0, mType=2, mName=thermal-cpufreq-0}
Temperature static thresholds from HAL:
	TemperatureThreshold{type = SKIN, name = VIRTUAL-SKIN, hotThrottlingThresholds = [NaN, 39.0]}
"""

THERMAL_SEEN = {
    "cpu/BIG": 43.2,
    "gpu/G3D": 38.5,
    "skin/VIRTUAL-SKIN": 31.243,
    "battery/battery": 27.9,
}

# A phone whose vendor has not connected the HAL: the status says nothing but 0.
THERMAL_NOT_READY = """\
IsStatusOverride: false
ThermalEventListeners:
	callbacks: 1
	killed: false
	broadcasts count: -1
Thermal Status: 0
Cached temperatures:
	Temperature{mValue=65.0, mType=0, mName=BIG, mStatus=3}
HAL Ready: false
"""

# Android 9 and before.
THERMAL_ABSENT = "Can't find service: thermalservice\n"

BATTERY = """\
Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  Max charging current: 500000
  Max charging voltage: 5000000
  Charge counter: 3270000
  status: 2
  health: 2
  present: true
  level: 74
  scale: 100
  voltage: 4352
  temperature: 274
  technology: Li-ion
"""

# Samsung's goes on with a log, whose levels are old.
BATTERY_WITH_LOG = (
    BATTERY
    + """\
  mSecPlugTypeSummary: 2
  Capacity level: -1
[EventLogBuffer]
08-11 18:34:14.721  Sending ACTION_BATTERY_CHANGED: level:72, health:2, temperature:345
"""
)

BATTERY_UNPLUGGED = (
    "Current Battery Service state:\n  (UPDATES STOPPED -- use 'reset' to restart)\n"
    "  AC powered: false\n  USB powered: false\n  Wireless powered: false\n  Dock powered: false\n"
    "  status: 3\n  present: true\n  level: 30\n  scale: 60\n  temperature: -52\n"
)

# A board for developers.
BATTERY_ABSENT = (
    "Current Battery Service state:\n  AC powered: true\n  USB powered: false\n"
    "  status: 1\n  present: false\n  level: 0\n  scale: 100\n  temperature: 0\n"
)

POWER_ON = "  mWakefulness=Awake\nDisplay Power: state=ON\n"
POWER_DOZING = "  mWakefulness=Dozing\nDisplay Power: state=DOZE\n"
POWER_NEW = "  mWakefulness=Asleep\n"

CLOCKS = """\
cpu/cpu0/cpufreq/scaling_cur_freq 574000
cpu/cpu0/cpufreq/scaling_max_freq 1803000
cpu/cpu10/cpufreq/scaling_max_freq 2802000
cpu/cpu4/cpufreq/scaling_cur_freq <unsupported>
"""


def conditions_text(
    *, thermal: str = THERMAL, battery: str = BATTERY, power: str = POWER_ON, clocks: str = CLOCKS
) -> str:
    """What the script of `android_harness.conditions` prints with these answers."""
    sections = {"thermal": thermal, "battery": battery, "power": power, "clocks": clocks}
    return "".join(f"\nmvkit-section {name}\n{text}" for name, text in sections.items())
